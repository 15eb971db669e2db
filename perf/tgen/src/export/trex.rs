//! Profiles for TRex: Python modules with `register()`.

use super::{Hosts, MADE_BY};
use crate::frame::{Layout, SEGMENT_MAX};
use crate::profile::{CHECK_SEQUENCE, Exchange, Family, Profile, Senders, Stream};

fn head(profile: &Profile, how: &str) -> String {
    format!(
        "\"\"\"{about}: perf/profiles/{name}.toml for TRex.\n\n    {how}\n\nMade from the definition: {MADE_BY}\n\"\"\"\n",
        about = profile.about,
        name = profile.name
    )
}

/// The Python name of a module for a profile.
fn module(profile: &Profile) -> String {
    profile.name.replace('-', "_")
}

fn hosts(hosts: &Hosts) -> String {
    let [first_client, last_client] = &hosts.clients;
    let [first_server, last_server] = &hosts.servers;
    format!(
        "CLIENTS = (\"{first_client}\", \"{last_client}\")\nSERVERS = (\"{first_server}\", \"{last_server}\")\n"
    )
}

/// Streams of UDP, for the stateless mode. TRex's tuple generator counts clients first and then ports, as our flows do.
pub fn stateless(profile: &Profile, of: &Hosts, stream: &Stream) -> String {
    let Hosts { ports: [first, last], .. } = of;
    let (layer, width) = match profile.family {
        Family::Ipv4 => ("IP", 0),
        Family::Ipv6 => ("IPv6", 12),
    };
    let fix = match profile.family {
        // Without a checksum of its own, as UDP over IPv4 may be.
        Family::Ipv4 => "vm.fix_chksum()",
        Family::Ipv6 => {
            "vm.fix_chksum_hw(l3_offset=\"IPv6\", l4_offset=\"UDP\", l4_type=CTRexVmInsFixHwCs.L4_TYPE_UDP)"
        }
    };
    let udp = if profile.family == Family::Ipv4 { ", chksum=0" } else { "" };
    let silent = match profile.senders {
        Senders::Both => "",
        Senders::Clients => "        if direction == 1:\n            return []\n",
        Senders::Servers => "        if direction == 0:\n            return []\n",
    };
    let frames: Vec<String> =
        stream.frames.iter().map(|frame| format!("({}, {})", frame.bytes, frame.share)).collect();
    let mut text = head(profile, &format!("start -f stl/{}.py -m 50% --port 0 1", module(profile)));
    text +=
        "from trex_stl_lib.api import *\n\n# Bytes with the check sequence, and how many of such frames.\n";
    text += &format!("FRAMES = [{}]\nFLOWS = {}\n", frames.join(", "), profile.flows);
    text += &hosts(of);
    text += &format!(
        "CLIENT_PORTS = ({first}, {last})
SERVER_PORT = {server_port}
CHECK_SEQUENCE = {CHECK_SEQUENCE}
# Of the addresses only the last four octets count.
OFFSET = {width}


def number(address):
    \"\"\"The last four octets of an address.\"\"\"
    import ipaddress
    return int(ipaddress.ip_address(address)) & 0xffffffff


class Profile:
    def stream(self, direction, size, share):
        client, server = (\"src\", \"dst\") if direction == 0 else (\"dst\", \"src\")
        port = \"sport\" if direction == 0 else \"dport\"
        addresses = {{client: CLIENTS[0], server: SERVERS[0]}}
        ports = {{port: CLIENT_PORTS[0], \"dport\" if direction == 0 else \"sport\": SERVER_PORT}}
        packet = Ether() / {layer}(**addresses) / UDP(**ports{udp})
        packet = packet / (b\"\\0\" * (size - CHECK_SEQUENCE - len(packet)))
        vm = STLVM()
        vm.tuple_var(\"flow\", number(CLIENTS[0]), number(CLIENTS[1]), *CLIENT_PORTS, limit_flows=FLOWS)
        vm.var(\"server\", number(SERVERS[0]), number(SERVERS[1]), size=4, op=\"inc\")
        vm.write(\"flow.ip\", \"{layer}.\" + client, offset_fixup=OFFSET)
        vm.write(\"server\", \"{layer}.\" + server, offset_fixup=OFFSET)
        vm.write(\"flow.port\", \"UDP.\" + port)
        {fix}
        return STLStream(packet=STLPktBuilder(pkt=packet, vm=vm), mode=STLTXCont(pps=share))

    def get_streams(self, direction=0, tunables=(), **kwargs):
{silent}        return [self.stream(direction, size, share) for size, share in FRAMES]


def register():
    return Profile()
",
        server_port = profile.server_port,
    );
    text
}

fn stateful(profile: &Profile, of: &Hosts, constants: &str, programs: &str, template: &str) -> String {
    let ipv6 = match profile.family {
        Family::Ipv4 => "",
        Family::Ipv6 => "        info.ipv6.enable = 1\n",
    };
    let mut text = head(profile, &format!("start -f astf/{}.py -m 1000", module(profile)));
    text += "from trex.astf.api import *\n\n";
    text += &hosts(of);
    text += &format!(
        "SERVER_PORT = {}\nFLOWS = {}\nSEGMENT = {SEGMENT_MAX}\n{constants}",
        profile.server_port, profile.flows
    );
    text += &format!(
        "

class Profile:
    def get_profile(self, tunables=(), **kwargs):
        client, server = ASTFProgram(), ASTFProgram()
{programs}        addresses = ASTFIPGen(
            dist_client=ASTFIPGenDist(ip_range=list(CLIENTS), distribution=\"seq\"),
            dist_server=ASTFIPGenDist(ip_range=list(SERVERS), distribution=\"seq\"),
        )
        info = ASTFGlobalInfo()
        info.tcp.mss = SEGMENT
{ipv6}        opens = ASTFTCPClientTemplate(
            program=client, ip_gen=addresses, port=SERVER_PORT, cps=1{template})
        answers = ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=SERVER_PORT))
        return ASTFProfile(
            default_ip_gen=addresses,
            default_c_glob_info=info,
            default_s_glob_info=info,
            templates=ASTFTemplate(client_template=opens, server_template=answers),
        )


def register():
    return Profile()
"
    );
    text
}

/// Connections with a request and a response; `-m` is connections a second.
pub fn connections(profile: &Profile, of: &Hosts, exchange: &Exchange) -> String {
    let Exchange { request_bytes, response_bytes } = exchange;
    let constants = format!("REQUEST = {request_bytes}\nRESPONSE = {response_bytes}\n");
    let mut programs = String::from("        client.connect()\n        server.accept()\n");
    if *request_bytes > 0 {
        programs += "        client.send(b\"\\0\" * REQUEST)\n        server.recv(REQUEST)\n";
    }
    if *response_bytes > 0 {
        programs += "        server.send(b\"\\0\" * RESPONSE)\n        client.recv(RESPONSE)\n";
    }
    programs += "        server.wait_for_peer_close()\n";
    stateful(profile, of, &constants, &programs, "")
}

/// Connections that stay, and send segments in turn; `-m` opens so many a second, until there are as many as the profile
/// has.
pub fn established(profile: &Profile, of: &Hosts, stream: &Stream) -> String {
    let headers = Layout::tcp(profile.family).headers() as u16 + CHECK_SEQUENCE;
    let data: Vec<String> = stream
        .frames
        .iter()
        .flat_map(|frame| std::iter::repeat_n((frame.bytes - headers).to_string(), frame.share.into()))
        .collect();
    let constants = format!(
        "# Octets of data in the segments of one round, and how long a round takes, in microseconds.\n\
         DATA = [{}]\nROUND = 10000\nROUNDS = 1000000000\n",
        data.join(", ")
    );
    let mut programs = String::from(
        "        for program in (client, server):\n            program.set_var(\"rounds\", ROUNDS)\n            program.set_label(\"round:\")\n        for octets in DATA:\n",
    );
    let [forth, back] = [("client", "server"), ("server", "client")].map(|(from, to)| {
        format!("            {from}.send(b\"\\0\" * octets)\n            {to}.recv(octets, True)\n")
    });
    if profile.senders != Senders::Servers {
        programs += &forth;
    }
    if profile.senders != Senders::Clients {
        programs += &back;
    }
    programs += "        for program in (client, server):\n            program.delay(ROUND)\n            program.jmp_nz(\"rounds\", \"round:\")\n";
    stateful(profile, of, &constants, &programs, ", limit=FLOWS")
}
