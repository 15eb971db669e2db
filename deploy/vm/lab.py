"""The networks around the guest, in namespaces of the bed: a client and a server beyond the firewall's cards, and the operator.

    client 10.1.0.2/24, fd00:1::2/64 ── lan0 .1 ─ the guest ─ wan0 .1 ── server 10.2.0.2/24, fd00:2::2/64
                                                     │ its management card, 192.0.2.2/24
                                                  operator 192.0.2.1/24, where QEMU runs

QEMU makes the TAPs, the bed moves their kernel ends: nothing of the host's own network is touched.
"""
import hashlib, json, os, socket, struct, subprocess, time

from machine import Failed, run

FILE_MIB = 16


class Namespace:
    """A network namespace; removed, with everything in it, by `remove`."""

    def __init__(self, name):
        self.name = name
        self.remove()
        run("ip", "netns", "add", name)
        self.run("ip", "link", "set", "lo", "up")
        for scope in ["all", "default"]:
            self.run("sysctl", "-qw", f"net.ipv6.conf.{scope}.accept_dad=0", f"net.ipv6.conf.{scope}.router_solicitations=0")

    def remove(self):
        for pid in run("ip", "netns", "pids", self.name, ok=False).stdout.split():
            run("kill", "-KILL", pid, ok=False)
        run("ip", "netns", "del", self.name, ok=False)

    def run(self, *words, **options):
        return run("ip", "netns", "exec", self.name, *words, **options)

    def start(self, *words, **options):
        words = ["ip", "netns", "exec", self.name, *map(str, words)]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, **options)

    def address(self, link, ipv4, ipv6=None, gateways=()):
        # Every packet counts, and the guest is slow: the TAP's queue holds what it has not fetched yet.
        self.run("ip", "link", "set", link, "txqueuelen", "10000", "up")
        # The guest's card is at the other end of a wire: nobody there completes a checksum or cuts a segment.
        self.run("ethtool", "-K", link, "tx", "off")
        self.run("ip", "addr", "add", ipv4, "dev", link)
        if ipv6:
            self.run("ip", "-6", "addr", "add", ipv6, "dev", link, "nodad")
        for gateway in gateways:
            self.run("ip", "route", "add", "default", "via", gateway)


class Lab:
    """The three namespaces, and a web server. A context: leaving it removes them all."""

    def __init__(self, bed, folder):
        self.folder = folder
        self.client, self.server, self.operator = (Namespace(f"turnpike-{bed}-{role}") for role in ["client", "server", "operator"])
        # What is on its way at once fits into a card's ring: QEMU's spreading (rss=on) does not wake a queue that was full.
        self.client.run("sysctl", "-qw", "net.ipv4.tcp_rmem=4096 65536 131072")
        (folder / "www").mkdir()
        self.file = folder / "www/file"
        self.file.write_bytes(os.urandom(FILE_MIB << 20))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for namespace in [self.client, self.server, self.operator]:
            namespace.remove()

    def connect(self):
        """Takes over the TAPs that QEMU has made."""
        for link, station, number in [("lan", self.client, 1), ("wan", self.server, 2)]:
            self.operator.run("ip", "link", "set", link, "netns", station.name)
            station.address(link, f"10.{number}.0.2/24", f"fd00:{number}::2/64", [f"10.{number}.0.1", f"fd00:{number}::1"])
        self.operator.address("admin", "192.0.2.1/24")
        with open(self.folder / "www.log", "w") as log:
            self.server.start("python3", "-m", "http.server", "--bind", "::", "--directory", self.file.parent, "80", stdout=log, stderr=log)

    def fetch(self, host):
        """The client gets the file, and finds it as it was sent."""
        received = self.folder / "received"
        self.client.run("curl", "-sSf", "--max-time", "240", "-o", received, f"http://{host}/file", seconds=300)
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in [self.file, received]]
        if digests[0] != digests[1]:
            raise Failed(f"the file from {host} changed on its way: {digests[0]} became {digests[1]}")
        return digests[0]

    def ask_in_vlan(self, vlan, own, other):
        """The client asks for an address by ARP, with a tag (802.1Q), and hears an answer with the same.

        Frames are made by hand: the host's kernel may know nothing of VLANs."""
        link = json.loads(self.client.run("ip", "-j", "link", "show", "lan").stdout)[0]
        mac = bytes.fromhex(link["address"].replace(":", ""))
        request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + socket.inet_aton(own) + bytes(6) + socket.inet_aton(other)
        frame = b"\xff" * 6 + mac + struct.pack("!HHH", 0x8100, vlan, 0x0806) + request
        listener = self.client.start(
            "timeout", "60", "tcpdump", "-nnel", "-i", "lan", "-c", "1", f"vlan {vlan} and arp[6:2] = 2",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        send = f"import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('lan', 0)); s.send(bytes.fromhex('{frame.hex()}'))"
        while listener.poll() is None:
            self.client.run("python3", "-c", send)
            time.sleep(1)
        heard = listener.stdout.read()
        if f"vlan {vlan}" not in heard or f"{other} is-at" not in heard:
            raise Failed(f"no answer in VLAN {vlan}: {heard}")
