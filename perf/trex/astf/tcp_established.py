"""TCP, data of established connections: perf/profiles/tcp-established.toml for TRex.

    start -f astf/tcp_established.py -m 1000

Made from the definition: UPDATE_EXPORTS=1 cargo test -p tgen --test exports
"""
from trex.astf.api import *

CLIENTS = ("198.18.128.1", "198.18.131.232")
SERVERS = ("198.19.128.1", "198.19.128.100")
SERVER_PORT = 80
FLOWS = 10000
SEGMENT = 1440
# Octets of data in the segments of one round, and how long a round takes, in microseconds.
DATA = [70]
ROUND = 10000
ROUNDS = 1000000000


class Profile:
    def get_profile(self, tunables=(), **kwargs):
        client, server = ASTFProgram(), ASTFProgram()
        for program in (client, server):
            program.set_var("rounds", ROUNDS)
            program.set_label("round:")
        for octets in DATA:
            client.send(b"\0" * octets)
            server.recv(octets, True)
            server.send(b"\0" * octets)
            client.recv(octets, True)
        for program in (client, server):
            program.delay(ROUND)
            program.jmp_nz("rounds", "round:")
        addresses = ASTFIPGen(
            dist_client=ASTFIPGenDist(ip_range=list(CLIENTS), distribution="seq"),
            dist_server=ASTFIPGenDist(ip_range=list(SERVERS), distribution="seq"),
        )
        info = ASTFGlobalInfo()
        info.tcp.mss = SEGMENT
        opens = ASTFTCPClientTemplate(
            program=client, ip_gen=addresses, port=SERVER_PORT, cps=1, limit=FLOWS)
        answers = ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=SERVER_PORT))
        return ASTFProfile(
            default_ip_gen=addresses,
            default_c_glob_info=info,
            default_s_glob_info=info,
            templates=ASTFTemplate(client_template=opens, server_template=answers),
        )


def register():
    return Profile()
