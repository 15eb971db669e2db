"""UDP over IPv6 in frames of 84 bytes: perf/profiles/udp6-84.toml for TRex.

    start -f stl/udp6_84.py -m 50% --port 0 1

Made from the definition: UPDATE_EXPORTS=1 cargo test -p tgen --test exports
"""
from trex_stl_lib.api import *

# Bytes with the check sequence, and how many of such frames.
FRAMES = [(84, 1)]
FLOWS = 10000
CLIENTS = ("2001:2:0:100::1", "2001:2:0:100::3e8")
SERVERS = ("2001:2:0:200::1", "2001:2:0:200::64")
CLIENT_PORTS = (1024, 1033)
SERVER_PORT = 9
CHECK_SEQUENCE = 4
# Of the addresses only the last four octets count.
OFFSET = 12


def number(address):
    """The last four octets of an address."""
    import ipaddress
    return int(ipaddress.ip_address(address)) & 0xffffffff


class Profile:
    def stream(self, direction, size, share):
        client, server = ("src", "dst") if direction == 0 else ("dst", "src")
        port = "sport" if direction == 0 else "dport"
        addresses = {client: CLIENTS[0], server: SERVERS[0]}
        ports = {port: CLIENT_PORTS[0], "dport" if direction == 0 else "sport": SERVER_PORT}
        packet = Ether() / IPv6(**addresses) / UDP(**ports)
        packet = packet / (b"\0" * (size - CHECK_SEQUENCE - len(packet)))
        vm = STLVM()
        vm.tuple_var("flow", number(CLIENTS[0]), number(CLIENTS[1]), *CLIENT_PORTS, limit_flows=FLOWS)
        vm.var("server", number(SERVERS[0]), number(SERVERS[1]), size=4, op="inc")
        vm.write("flow.ip", "IPv6." + client, offset_fixup=OFFSET)
        vm.write("server", "IPv6." + server, offset_fixup=OFFSET)
        vm.write("flow.port", "UDP." + port)
        vm.fix_chksum_hw(l3_offset="IPv6", l4_offset="UDP", l4_type=CTRexVmInsFixHwCs.L4_TYPE_UDP)
        return STLStream(packet=STLPktBuilder(pkt=packet, vm=vm), mode=STLTXCont(pps=share))

    def get_streams(self, direction=0, tunables=(), **kwargs):
        return [self.stream(direction, size, share) for size, share in FRAMES]


def register():
    return Profile()
