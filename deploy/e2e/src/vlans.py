"""A VLAN switch: `vlans.py TRUNK VLAN...` makes a TAP interface `vlanN` for each VLAN, and carries frames between it and TRUNK,
where they have the tag of the VLAN. Says `ready` when the interfaces are there."""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x1002
SOL_PACKET, PACKET_AUXDATA = 263, 8
TP_STATUS_VLAN_VALID = 0x10
PACKET_OUTGOING = 4
TAG = 0x8100


def tap(name):
    """The file of a new TAP interface."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP_NO_PI))
    return file


def receive(trunk):
    """A frame from the trunk with its VLAN, which the kernel has taken out of it; (None, None) for one sent here."""
    frame, more, _, address = trunk.recvmsg(65536, socket.CMSG_SPACE(20))
    if address[2] == PACKET_OUTGOING:
        return None, None
    for level, kind, data in more:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID:
                return tci & 0xFFF, frame
    return None, frame


def main():
    name, *vlans = sys.argv[1:]
    trunk = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    trunk.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    trunk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    trunk.bind((name, 0))
    taps = {int(vlan): tap(f"vlan{vlan}") for vlan in vlans}
    vlan_of = {file: vlan for vlan, file in taps.items()}
    print("ready", flush=True)
    while True:
        for ready in select.select([trunk, *vlan_of], [], [])[0]:
            if ready is trunk:
                vlan, frame = receive(trunk)
                if vlan in taps:
                    try:
                        os.write(taps[vlan], frame)
                    except OSError:
                        pass  # it is down
            else:
                frame = os.read(ready, 65536)
                tagged = frame[:12] + struct.pack("!HH", TAG, vlan_of[ready]) + frame[12:]
                try:
                    trunk.send(tagged)
                except OSError:
                    pass  # the trunk is down, or full


main()
