# pf.conf(5) `modulate state`: `seqdiff i r` is added to what the initiator and the responder send. Each segment is shown as
# its sender sends it, so that acknowledgments are of the other end's shifted numbers. The state is kept in the numbers of
# the senders.

story both ends are modulated
seqdiff 1000000 500
dir flags seq   ack     len  win   opts  verdict              timer            initiator               responder
>   S     1000  -       0    8760  -     open                 tcp.first        syn-sent@1000+2         closed@0+1
<   SA    9000  1001001 0    5840  -     pass                 tcp.opening      established@1000+5841   syn-sent@9001+8760
>   A     1001  9501    0    8760  -     up                   tcp.established  =                       established@9001+8760
>   PA    1001  9501    100  8760  -     pass                 tcp.established  =@1101+5740             =@9001+8760
<   A     9001  1001101 1460 5840  -     pass                 tcp.established  =@1101+5840             =@10461+7300
>   A     1101  10961   0    8760  -     pass                 tcp.established  =                       =@10461+8760
# Not shifted, as by somebody who does not see what the firewall does.
<   A     10461 1101    0    5840  -     drop:4               -                =                       =
# The challenge is in the numbers of the end that it is sent to.
>   S     5000  -       0    8760  -     challenge:10961/1101 -                =                       =
<   S     5000  -       0    8760  -     challenge:1001101/10461 -             =                       =
>   RA    500   10961   0    0     -     pass                 tcp.closed       time-wait               time-wait

story a difference that crosses 2³²
seqdiff 4294967000 4294966000
>   S     1000  -          0    8760  -  open                 tcp.first        syn-sent                closed
<   SA    9000  705        0    5840  -  pass                 tcp.opening      established@1000+5841   syn-sent@9001+8760
>   A     1001  7705       0    8760  -  up                   tcp.established  =                       established@9001+8760
>   RA    900   7704       0    0     -  drop:R               -                =                       =
>   RA    900   7705       0    0     -  pass                 tcp.closed       time-wait               time-wait

story only the initiator is modulated
seqdiff 77 0
>   S     1000  -       0    8760  -     open                 tcp.first        syn-sent                closed
<   RA    0     1078    0    0     -     pass                 tcp.closed       time-wait               time-wait
>   S     1000  -       0    8760  -     reuse                tcp.first        syn-sent                closed
<   A     700   500000  0    5840  -     reset:3@500000       -                =                       syn-sent@0+1
<   SA    9000  1078    0    5840  -     pass                 tcp.opening      established@1000+5841   =@9001+8760
>   A     1001  9001    0    8760  -     up                   tcp.established  =                       established
