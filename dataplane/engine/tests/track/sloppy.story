# pf.conf(5) `keep state (sloppy)`: flags alone, for a firewall that sees one direction, or both and no numbers to trust.

story sloppy both directions
dir flags seq   ack   len  win   opts  verdict            timer            initiator               responder
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent@1000+2         closed@0+1
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established@1000+2      syn-sent@0+1
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1000+2                established@0+1
>   PA    1001  9001  100  8760  -     pass               tcp.established  =@1000+2                =@0+1
>   R     55    -     0    0     -     pass               tcp.closed       time-wait               time-wait

story sloppy numbers mean nothing
>   S     1000       -          0     8760  -  open       tcp.first        syn-sent@1000+2         closed@0+1
<   SA    9000       3000000000 0     0     -  pass       tcp.opening      established@1000+2      syn-sent@0+1
>   A     77         1          0     8760  -  up         tcp.established  =@1000+2                established@0+1
>   PA    3000000000 4000000000 65000 8760  -  pass       tcp.established  =@1000+2                =@0+1
<   PA    2000000000 5          65000 8760  -  pass       tcp.established  =@1000+2                =@0+1

story sloppy only the initiator is seen
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
>   A     1001  9001  0    8760  -     up                 tcp.established  established             established
>   PA    1001  9001  100  8760  -     pass               tcp.established  =                       =
>   FA    1101  9001  0    8760  -     pass               tcp.finwait      closing                 closing
>   A     1102  9002  0    8760  -     pass               tcp.finwait      =                       fin-wait-2

story sloppy only the responder is seen
>   SA    9000  1001  0    5840  -     open               tcp.first        syn-sent                closed
>   A     9001  1001  1460 5840  -     up                 tcp.established  established             established
>   FA    9461  1001  0    5840  -     pass               tcp.finwait      closing                 closing

# pf cannot tell whether it sees the responder, since it keeps no numbers: the initiator's FIN stands for both.
story sloppy the initiator closes first
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   FA    1001  9001  0    8760  -     pass               tcp.finwait      closing                 closing
<   A     9001  1002  0    5840  -     pass               tcp.finwait      fin-wait-2              =
<   FA    9001  1002  0    5840  -     pass               tcp.finwait      =                       =
>   A     1002  9002  0    8760  -     pass               tcp.closed       =                       fin-wait-2

story sloppy the responder closes first
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
<   FA    9001  1001  0    5840  -     pass               tcp.closing      =                       closing
>   A     1001  9002  0    8760  -     pass               tcp.closing      =                       fin-wait-2
>   FA    1001  9002  0    8760  -     pass               tcp.finwait      closing                 =
<   A     9002  1002  0    5840  -     pass               tcp.closed       fin-wait-2              =

story sloppy picked up in the middle
>   PA    1000  9000  100  8760  -     open               tcp.first        syn-sent@1000+101       closed@0+1
<   A     9000  1100  1460 5840  -     pass               tcp.opening      established@1000+101    closed@0+1
>   PA    1100  10460 100  8760  -     pass               tcp.opening      =                       =

# Both tests that come before the tracking hold here too.
story sloppy SYNs on connections that exist
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
>   A     1001  9001  0    8760  -     up                 tcp.established  established             established
>   S     5000  -     0    8760  -     challenge:0/1000   -                =                       =
>   R     1001  -     0    0     -     pass               tcp.closed       time-wait               time-wait
>   S     5000  -     0    8760  -     reuse              tcp.first        syn-sent@5000+2         closed@0+1
