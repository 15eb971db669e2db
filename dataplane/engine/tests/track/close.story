# Ending a connection with FINs (RFC 9293 §3.6), and the time-outs on the way.

story the client closes first
dir flags seq   ack   len  win   opts  verdict            timer            initiator               responder
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   FA    1001  9001  0    8760  -     pass               tcp.closing      closing@1002+5839       =
<   A     9001  1002  0    5840  -     pass               tcp.closing      fin-wait-2@1002+5840    =
<   FA    9001  1002  0    5840  -     pass               tcp.finwait      =                       closing@9002+8759
>   A     1002  9002  0    8760  -     pass               tcp.closed       =                       fin-wait-2@9002+8760

story the server closes first, in three segments
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   PA    1001  9001  100  8760  -     up                 tcp.established  =                       established
<   FPA   9001  1101  500  5840  -     pass               tcp.closing      =                       closing@9502+8259
>   FA    1101  9502  0    8760  -     pass               tcp.finwait      closing@1102+5839       fin-wait-2@9502+8760
<   A     9502  1102  0    5840  -     pass               tcp.closed       fin-wait-2@1102+5840    =

story both close at once
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   FA    1001  9001  0    8760  -     pass               tcp.closing      closing                 =
<   FA    9001  1001  0    5840  -     pass               tcp.finwait      fin-wait-2              closing
>   A     1002  9002  0    8760  -     pass               tcp.closed       =                       fin-wait-2
<   A     9002  1002  0    5840  -     pass               tcp.closed       =                       =

# The client has no more to say and goes on listening (RFC 9293 §3.6). Each segment starts tcp.closing anew.
story half closed, the server goes on sending
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   FA    1001  9001  0    8760  -     pass               tcp.closing      closing@1002+5839       established
<   A     9001  1002  0    5840  -     pass               tcp.closing      fin-wait-2@1002+5840    =
<   PA    9001  1002  1460 5840  -     pass               tcp.closing      =                       =@10461+7300
>   A     1002  10461 0    8760  -     pass               tcp.closing      =                       =@10461+8760
<   PA    10461 1002  8760 5840  -     pass               tcp.closing      =                       =@19221+0
>   A     1002  19221 0    8760  -     pass               tcp.closing      =                       =@19221+8760
<   FA    19221 1002  0    5840  -     pass               tcp.finwait      =                       closing@19222+8759
>   A     1002  19222 0    8760  -     pass               tcp.closed       =                       fin-wait-2@19222+8760

# As pf: any ACK behind a FIN counts as its acknowledgment, be it of what came before the FIN. The numbers are still tested.
story an ACK that crosses the FIN
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   PA    1001  9001  100  8760  -     up                 tcp.established  =                       established
>   FA    1101  9001  0    8760  -     pass               tcp.closing      closing@1102+5739       =
<   PA    9001  1101  500  5840  -     pass               tcp.closing      fin-wait-2@1102+5839    =@9501+8260
<   A     9501  1102  0    5840  -     pass               tcp.closing      =@1102+5840             =@9501+8260

story FINs are sent again
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   FA    1001  9001  0    8760  -     pass               tcp.closing      closing                 =
>   FA    1001  9001  0    8760  -     pass               tcp.closing      =@1002+5839             =
<   FA    9001  1002  0    5840  -     pass               tcp.finwait      fin-wait-2              closing
<   FA    9001  1002  0    5840  -     pass               tcp.finwait      =                       =@9002+8759
>   A     1002  9002  0    8760  -     pass               tcp.closed       =                       fin-wait-2
<   FA    9001  1002  0    5840  -     pass               tcp.closed       =                       =
>   A     1002  9002  0    8760  -     pass               tcp.closed       =                       =

# The client sends its FIN before the handshake is over, and the server never acknowledges anything else.
story a FIN behind the SYN
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   FPA   1001  9001  100  8760  -     pass               tcp.closing      closing@1102+5739       established@9001+8760
<   FPA   9001  1102  100  5840  -     pass               tcp.finwait      fin-wait-2@1102+5840    closing@9102+8659
>   A     1102  9102  0    8760  -     pass               tcp.closed       =                       fin-wait-2

# Behind the end everything near passes, but nothing keeps the state alive.
story stragglers behind the end
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   FA    1001  9001  0    8760  -     pass               tcp.closing      closing                 established
<   FA    9001  1002  0    5840  -     pass               tcp.finwait      fin-wait-2              closing
>   A     1002  9002  0    8760  -     pass               tcp.closed       =@1002+5840             fin-wait-2@9002+8760
<   A     17762 1002  1    5840  -     loose              -                =@1002+5840             =@17763+4294967295
<   A     84798 1002  1    5840  -     drop:15            -                =                       =
>   A     1002  9002  5841 8760  -     loose              -                =@6843+4294967295       =
>   RA    3000  9002  0    0     -     loose              -                time-wait               time-wait

story a straggler too far away
>   S     100000 -      0    8760  -   open               tcp.first        syn-sent                closed
<   SA    900000 100001 0    5840  -   pass               tcp.opening      established             syn-sent
>   FA    100001 900001 0    8760  -   pass               tcp.closing      closing                 established
<   FA    900001 100002 0    5840  -   pass               tcp.finwait      fin-wait-2              closing
>   A     100002 900002 0    8760  -   pass               tcp.closed       =@100002+5840           fin-wait-2@900002+8760
<   A     832966 100002 1    5840  -   drop:26            -                =                       =
<   A     832967 100002 1    5840  -   loose              -                =                       =@900002+8760
<   A     975796 100002 1    5840  -   loose              -                =                       =@975797+4294900261
