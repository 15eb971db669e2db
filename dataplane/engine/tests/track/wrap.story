# Sequence numbers are modulo 2³² (RFC 9293 §3.4). The largest window is 65535 × 2¹⁴ = 1073725440 octets.

story the handshake crosses 2³²
dir flags seq        ack        len   win   opts  verdict    timer            initiator                  responder
>   S     4294967295 -          0     8760  -     open       tcp.first        syn-sent@4294967295+2      closed@0+1
<   SA    4294967290 0          0     5840  -     pass       tcp.opening      established@4294967295+5841 syn-sent@4294967291+8760
>   A     0          4294967291 0     8760  -     up         tcp.established  =                          established@4294967291+8760
>   PA    0          4294967291 100   8760  -     pass       tcp.established  =@100+5740                 =
<   PA    4294967291 100        1460  5840  -     pass       tcp.established  =@100+5840                 =@1455+7300
>   A     100        1455       0     8760  -     pass       tcp.established  =                          =@1455+8760

# An end whose numbers have come to be 0 is still an end that was seen.
story the numbers of an end come to be 0
>   S     4294967195 -          0     8760  -     open       tcp.first        syn-sent                   closed
<   SA    9000       4294967196 0     5840  -     pass       tcp.opening      established                syn-sent
>   PA    4294967196 9001       100   8760  -     up         tcp.established  =@0+5740                   established
>   A     5000       9001       741   8760  -     drop:1     -                =                          =
>   A     0          9001       0     8760  -     pass       tcp.established  =@0+5740                   =

# The server's numbers run over 2³² within one window of a gigabyte.
story a window of a gigabyte across 2³²
>   S     1000       -          0     65535 ws14  open       tcp.first        syn-sent                   closed
<   SA    4000000000 1001       0     65535 ws14  pass       tcp.opening      established@1000+65537     syn-sent@4000000001+65536
>   A     1001       4000000001 0     65535 -     up         tcp.established  =                          established@4000000001+1073725440
<   A     4000000001 1001       65000 65535 -     pass       tcp.established  =@1000+1073725441          =@4000065001+1073660440
<   A     778760181  1001       65000 65535 -     drop:15    -                =                          =
<   A     778760180  1001       65000 65535 -     drop:1     -                =                          =
<   A     778693146  1001       65000 65535 -     drop:1     -                =                          =
<   A     778693145  1001       65000 65535 -     pass       tcp.established  =                          =@778758145+0
<   A     4000000001 1001       65000 65535 -     pass       tcp.established  =                          =@778758145+0
<   A     4000000000 1001       65000 65535 -     drop:26    -                =                          =
>   A     1001       778758145  0     65535 -     pass       tcp.established  =                          =@778758145+1073725440
