"""TCP connections without data: perf/profiles/new-connections.toml for TRex.

    start -f astf/new_connections.py -m 1000

Made from the definition: UPDATE_EXPORTS=1 cargo test -p tgen --test exports
"""
from trex.astf.api import *

CLIENTS = ("198.18.128.1", "198.18.167.16")
SERVERS = ("198.19.128.1", "198.19.128.100")
SERVER_PORT = 80
FLOWS = 200000
SEGMENT = 1440
REQUEST = 0
RESPONSE = 0


class Profile:
    def get_profile(self, tunables=(), **kwargs):
        client, server = ASTFProgram(), ASTFProgram()
        client.connect()
        server.accept()
        server.wait_for_peer_close()
        addresses = ASTFIPGen(
            dist_client=ASTFIPGenDist(ip_range=list(CLIENTS), distribution="seq"),
            dist_server=ASTFIPGenDist(ip_range=list(SERVERS), distribution="seq"),
        )
        info = ASTFGlobalInfo()
        info.tcp.mss = SEGMENT
        opens = ASTFTCPClientTemplate(
            program=client, ip_gen=addresses, port=SERVER_PORT, cps=1)
        answers = ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=SERVER_PORT))
        return ASTFProfile(
            default_ip_gen=addresses,
            default_c_glob_info=info,
            default_s_glob_info=info,
            templates=ASTFTemplate(client_template=opens, server_template=answers),
        )


def register():
    return Profile()
