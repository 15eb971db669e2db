# Operating systems by the first segment that they send, in the form of OpenBSD's pf.os(5).
#
#   window:ttl:df:size:options:class:version:subtype:details
#
# window   the window: a number, * for any, %n for a multiple, Sn for n segment sizes, Tn for n packets
# ttl      hops to live at the sender
# df       1 if the packet may not be fragmented
# size     octets of the packet, from the IP header on
# options  M segment size, W window scale, T timestamp (T0: zero), S selective acknowledgments, N padding; . for none
#
# The first line that fits decides. Systems change with their versions and settings: a fingerprint is a hint, no proof.

# ---- Linux: a window of so many segments, and a scale that follows from the memory.
S44:64:1:60:M*,S,T,N,W*:Linux:5::Linux 4.20 and later
S20:64:1:60:M*,S,T,N,W*:Linux:4::Linux 3.14 to 4.19
S10:64:1:60:M*,S,T,N,W*:Linux:3::Linux 2.6.39 to 3.13
S4:64:1:60:M*,S,T,N,W*:Linux:2.6::Linux 2.6
S4:64:1:60:M*,S,T,N,W0:Linux:2.4::Linux 2.4
S22:64:1:60:M*,S,T,N,W0:Linux:2.2::Linux 2.2
65535:64:1:60:M*,S,T,N,W*:Linux:Android::Android
S44:64:1:52:M*,N,N,S,N,W*:Linux:5:notimestamps:Linux 4.20 and later without timestamps

# ---- BSD
65535:64:1:60:M*,N,W*,S,T:FreeBSD:::FreeBSD 7 and later
65535:64:1:44:M*:FreeBSD:4::FreeBSD 4 without extensions
65535:64:1:60:M*,N,W1,N,N,T:FreeBSD:5::FreeBSD 5 without selective acknowledgments
16384:64:1:64:M*,N,N,S,N,W3,N,N,T:OpenBSD:4.9-5.9::OpenBSD 4.9 to 5.9
16384:64:1:64:M*,N,N,S,N,W6,N,N,T:OpenBSD:6::OpenBSD 6 and later
16384:64:1:64:M*,N,N,S,N,W0,N,N,T:OpenBSD:3.0-4.8::OpenBSD 3.0 to 4.8

# ---- Apple
65535:64:1:64:M*,N,W*,N,N,T,S:MacOS:X::Mac OS X, macOS and iOS

# ---- Microsoft
64240:128:1:52:M*,N,W8,N,N,S:Windows:10::Windows 10 and 11
65535:128:1:52:M*,N,W8,N,N,S:Windows:10:large:Windows 10 and 11, large windows
8192:128:1:52:M*,N,W8,N,N,S:Windows:7-8::Windows 7 and 8
8192:128:1:52:M*,N,W2,N,N,S:Windows:Vista::Windows Vista and 7
64240:128:1:48:M*,N,N,S:Windows:XP::Windows XP
65535:128:1:48:M*,N,N,S:Windows:XP::Windows XP
65535:128:1:48:M*,N,N,S:Windows:2000::Windows 2000
16384:128:1:48:M*,N,N,S:Windows:2000::Windows 2000

# ---- Routers
4128:255:0:44:M*:Cisco:IOS::Cisco IOS

# ---- Scanners
1024:64:0:44:M1460:NMAP:syn scan::nmap -sS
2048:64:0:44:M1460:NMAP:syn scan::nmap -sS
3072:64:0:44:M1460:NMAP:syn scan::nmap -sS
4096:64:0:44:M1460:NMAP:syn scan::nmap -sS
1024:255:0:40:.:MASSCAN:::masscan
