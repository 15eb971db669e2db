"""UDP in frames of 1518 bytes: perf/profiles/udp-1518.toml for TRex.

    start -f stl/udp_1518.py -m 50% --port 0 1

Made from the definition: UPDATE_EXPORTS=1 cargo test -p tgen --test exports
"""
from trex_stl_lib.api import *

# Bytes with the check sequence, and how many of such frames.
FRAMES = [(1518, 1)]
FLOWS = 10000
CLIENTS = ("198.18.128.1", "198.18.131.232")
SERVERS = ("198.19.128.1", "198.19.128.100")
CLIENT_PORTS = (1024, 1033)
SERVER_PORT = 9
CHECK_SEQUENCE = 4
# Of the addresses only the last four octets count.
OFFSET = 0


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
        packet = Ether() / IP(**addresses) / UDP(**ports, chksum=0)
        packet = packet / (b"\0" * (size - CHECK_SEQUENCE - len(packet)))
        vm = STLVM()
        vm.tuple_var("flow", number(CLIENTS[0]), number(CLIENTS[1]), *CLIENT_PORTS, limit_flows=FLOWS)
        vm.var("server", number(SERVERS[0]), number(SERVERS[1]), size=4, op="inc")
        vm.write("flow.ip", "IP." + client, offset_fixup=OFFSET)
        vm.write("server", "IP." + server, offset_fixup=OFFSET)
        vm.write("flow.port", "UDP." + port)
        vm.fix_chksum()
        return STLStream(packet=STLPktBuilder(pkt=packet, vm=vm), mode=STLTXCont(pps=share))

    def get_streams(self, direction=0, tunables=(), **kwargs):
        return [self.stream(direction, size, share) for size, share in FRAMES]


def register():
    return Profile()
