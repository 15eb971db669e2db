# A SYN on a connection that exists: over, alive, or in between.

story the client uses the ports again
dir flags seq   ack   len  win   opts  verdict              timer            initiator             responder
>   S     1000  -     0    8760  ws7   open                 tcp.first        syn-sent              closed
<   SA    9000  1001  0    5840  ws7   pass                 tcp.opening      established           syn-sent
>   FA    1001  9001  0    8760  -     pass                 tcp.closing      closing               established
<   FA    9001  1002  0    5840  -     pass                 tcp.finwait      fin-wait-2            closing
>   A     1002  9002  0    8760  -     pass                 tcp.closed       =                     fin-wait-2
>   S     50000 -     0    8760  -     reuse                tcp.first        syn-sent@50000+2      closed@0+1
<   SA    60000 50001 0    5840  -     pass                 tcp.opening      established           syn-sent@60001+8760
>   A     50001 60001 0    8760  -     up                   tcp.established  =                     established

story the server begins the next connection
>   S     1000  -     0    8760  -     open                 tcp.first        syn-sent              closed
<   RA    0     1001  0    0     -     pass                 tcp.closed       time-wait             time-wait
<   S     7000  -     0    5840  -     reuse                tcp.first        closed@0+1            syn-sent@7000+2
>   SA    1000  7001  0    8760  -     pass                 tcp.opening      syn-sent@1001+5840    established@7000+8761
<   A     7001  1001  0    5840  -     up                   tcp.established  established           =

story a SYN|ACK does not open a connection again
>   S     1000  -     0    8760  -     open                 tcp.first        syn-sent              closed
<   SA    9000  1001  0    5840  -     pass                 tcp.opening      established           syn-sent
>   R     1001  -     0    0     -     pass                 tcp.closed       time-wait             time-wait
<   SA    500000 1001 0    5840  -     drop:15              -                =                     =
<   SA    9000  1001  0    5840  -     pass                 tcp.closed       =                     =

# One end is not yet over: the connection is alive, and the SYN is challenged.
story a SYN while closing
>   S     1000  -     0    8760  -     open                 tcp.first        syn-sent              closed
<   SA    9000  1001  0    5840  -     pass                 tcp.opening      established           syn-sent
>   FA    1001  9001  0    8760  -     pass                 tcp.closing      closing@1002+5839     established@9001+8760
>   S     50000 -     0    8760  -     challenge:9001/1002  -                =                     =
<   FA    9001  1002  0    5840  -     pass                 tcp.finwait      fin-wait-2            closing@9002+8759
>   S     50000 -     0    8760  -     challenge:9002/1002  -                =                     =
>   A     1002  9002  0    8760  -     pass                 tcp.closed       =                     fin-wait-2
>   S     50000 -     0    8760  -     reuse                tcp.first        syn-sent@50000+2      closed

# RFC 5961 §4: whoever sends it, whatever its number, with data or without.
story SYNs on an established connection are challenged
>   S     1000    -     0    8760  -   open                 tcp.first        syn-sent              closed
<   SA    9000    1001  0    5840  -   pass                 tcp.opening      established           syn-sent
>   PA    1001    9001  100  8760  -   up                   tcp.established  =@1101+5740           established@9001+8760
>   S     1000000 -     0    8760  ws7 challenge:9001/1101  -                =                     =
>   S     1000    -     0    8760  -   challenge:9001/1101  -                =                     =
>   S     1101    -     500  8760  -   challenge:9001/1101  -                =                     =
<   S     77      -     0    8760  -   challenge:1101/9001  -                =                     =
>   PA    1101    9001  100  8760  -   pass                 tcp.established  =@1201+5640           =
<   A     9001    1201  0    5840  -   pass                 tcp.established  =                     =

# Before the handshake is over a SYN is judged like any segment.
story a SYN with another number during the handshake
>   S     1000  -     0    8760  -     open                 tcp.first        syn-sent@1000+2       closed
>   S     50000 -     0    8760  -     loose                -                =@50001+4294918297    =@0+8760
>   S     200000 -    0    8760  -     drop:15              -                =                     =
<   SA    9000  50001 0    5840  -     pass                 tcp.opening      established           syn-sent
>   A     50001 9001  0    8760  -     up                   tcp.established  =                     established
