# Connections whose beginning was not seen: pf.conf(5) `flags any`. The scale of the windows is not known and never will be.

story without scaling a connection goes on as if nothing had happened
dir flags seq   ack   len  win   opts  verdict            timer            initiator               responder
>   PA    1000  9000  100  8760  -     open               tcp.first        syn-sent@1000+101       closed@0+1
<   A     9000  1100  1460 5840  -     pass               tcp.opening      established@1000+5940   syn-sent@10460+8760
>   A     1100  10460 0    8760  -     up                 tcp.established  =@1000+5940             established@10460+8760
<   A     10460 1100  1460 5840  -     pass               tcp.established  =                       =@11920+7300
>   PA    1100  11920 100  8760  -     pass               tcp.established  =@1200+5740             =@11920+8760

# Until the other end is seen, segments fit loosely: 67035 octets either way. They do not keep the state alive.
story a sender that goes on before it is answered
>   PA    100000 9000  100   8760  -   open               tcp.first        syn-sent@100000+101     closed@0+1
>   PA    100100 9000  1460  8760  -   loose              -                =@101560+4294965837     =@0+8760
>   PA    167137 9000  1     8760  -   drop:15            -                =                       =
>   PA    167136 9000  1     8760  -   drop:15            -                =                       =
>   PA    167135 9000  1     8760  -   loose              -                =@167136+4294900261     =
>   PA    100100 9000  1460  8760  -   drop:126           -                =                       =
>   PA    100101 9000  1460  8760  -   loose              -                =@167136+4294900261     =
<   A     9000   101560 1460 5840  -   pass               tcp.opening      established@167136+4294907560 syn-sent@10460+8760

# The initiator's window of 100 means 100 × 128 octets, but nobody told the firewall: the second segment of the answer is
# refused until the first one is acknowledged. The connection stalls, as in pf: states should be made by SYNs.
story with scaling a connection stalls
>   PA    1000  9000  100  100   -     open               tcp.first        syn-sent@1000+101       closed@0+1
<   A     9000  1100  1448 5840  -     pass               tcp.opening      established@1000+5940   syn-sent@10448+100
<   A     10448 1100  1448 5840  -     drop:1             -                =                       =
>   A     1100  10448 0    100   -     up                 tcp.established  =                       established@10448+100
<   A     10448 1100  1448 5840  -     drop:1             -                =                       =
<   A     10448 1100  100  5840  -     pass               tcp.established  =                       =@10548+0

# The first segment that is seen is an answer: the server's SYN|ACK, whose offer of scaling counts for nothing alone.
story picked up at the SYN|ACK
>   SA    9000  1001  0    5840  ws7   open               tcp.first        syn-sent@9000+2         closed@0+1
<   A     1001  9001  0    500   -     pass               tcp.opening      established@9000+501    syn-sent@1001+46
>   A     9001  1001  0    46    -     up                 tcp.established  =@9000+501              established@1001+46

story picked up at the end
>   FA    1000  9000  0    8760  -     open               tcp.first        syn-sent@1000+2         closed@0+1
<   FA    9000  1001  0    5840  -     pass               tcp.closing      established@1000+5841   closing@9001+8760
>   FA    1000  9001  0    8760  -     pass               tcp.finwait      closing@1001+5840       fin-wait-2@9001+8760
<   A     9001  1001  0    5840  -     pass               tcp.closed       fin-wait-2              =

story a reset of a connection that is half known
>   PA    1000  9000  100  8760  -     open               tcp.first        syn-sent                closed
>   R     5000  -     0    0     -     loose              -                time-wait               time-wait

# The acknowledgment of an end that was not seen cannot be judged.
story an acknowledgment of what was not seen
>   PA    1000  9000       100  8760  -  open             tcp.first        syn-sent@1000+101       closed@0+1
>   A     1100  3000000000 0    8760  -  pass             tcp.opening      =@1000+101              =@0+8760
