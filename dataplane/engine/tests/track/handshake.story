# Opening a connection (RFC 9293 §3.5). Unless said otherwise the client starts at 1000 and offers a window of 8760, the
# server starts at 9000 and offers 5840.

story three segments
dir flags seq   ack   len  win   opts  verdict            timer            initiator               responder
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent@1000+2         closed@0+1
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established@1000+5841   syn-sent@9001+8760
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1000+5841             established@9001+8760
>   PA    1001  9001  100  8760  -     pass               tcp.established  =@1101+5740             =@9001+8760
<   A     9001  1101  0    5840  -     pass               tcp.established  =@1101+5840             =@9001+8760

story the ACK of the handshake is lost, and the first data stands for it
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   PA    1001  9001  100  8760  -     up                 tcp.established  =@1101+5740             established

story every segment of the handshake is sent twice
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent@1000+2         closed@0+1
>   S     1000  -     0    8760  -     pass               tcp.opening      =@1001+1                =@0+8760
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established@1001+5840   syn-sent@9001+8760
<   SA    9000  1001  0    5840  -     pass               tcp.opening      =@1001+5840             =@9001+8760
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1001+5840             established@9001+8760
>   A     1001  9001  0    8760  -     pass               tcp.established  =@1001+5840             =@9001+8760
<   SA    9000  1001  0    5840  -     pass               tcp.established  =@1001+5840             =@9001+8760

# RFC 9293 §3.10.7.3: a closed port answers with a RST that acknowledges the SYN.
story a closed port
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   RA    0     1001  0    0     -     pass               tcp.closed       time-wait               time-wait
>   S     1000  -     0    8760  -     reuse              tcp.first        syn-sent@1000+2         closed@0+1

story a closed port of a stack that acknowledges 0
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   RA    0     0     0    0     -     pass               tcp.closed       time-wait               time-wait

# 67035 octets of grace and no more. The state waits on for the true answer.
story a RST that acknowledges what was not sent is refused
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   RA    0     68036 0    0     -     forget:3           -                =@1000+2                syn-sent@0+1
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established@1000+5841   syn-sent@9001+8760
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established

# The server still has the connection that the client has forgotten, and answers the SYN with an ACK (RFC 5961 §4). The
# client would answer with a RST; pf does so in its name, and the SYN that is sent again finds the port free.
story the server remembers an older connection
>   S     1000  -       0    8760  -   open               tcp.first        syn-sent@1000+2         closed@0+1
<   A     700   500000  0    5840  -   reset:3@500000     -                =@1000+2                syn-sent@0+1
>   S     1000  -       0    8760  -   pass               tcp.opening      =@1001+1                =@0+8760
<   SA    9000  1001    0    5840  -   pass               tcp.opening      established@1001+5840   =@9001+8760
>   A     1001  9001    0    8760  -   up                 tcp.established  =                       established

# The same, with an older connection whose numbers lie within the grace: its ACK passes, but the client's RST has the
# acknowledged number and not its own, and is refused.
story the server remembers an older connection with numbers close to the new one
>   S     1000  -       0    8760  -   open               tcp.first        syn-sent                closed
<   A     700   900     0    5840  -   pass               tcp.opening      established@1000+5740   syn-sent@700+8760
>   R     900   -       0    0     -   drop:R             -                =                       =
>   S     1000  -       0    8760  -   pass               tcp.opening      =@1001+5739             =@700+8760

story a SYN|ACK that acknowledges another SYN
>   S     1000  -        0    8760  ws7  open             tcp.first        syn-sent@1000+2         closed@0+1
<   SA    9000  3000000  0    5840  -    reset:3@3000000  -                =@1000+2                syn-sent@0+1
<   SA    9000  1001     0    5840  ws2  pass             tcp.opening      established@1000+5841   =@9001+8832
>   A     1001  9001     0    69    -    up               tcp.established  =@1000+5841             established@9001+8832

# What is known of an end that was reset is nothing: neither a small number, which would be close to the 0 in its place, nor
# any other acknowledges it, or anyone could open the connection for both. Both ends are forgotten, and begin again.
story nothing acknowledges an end that was reset
>   S     1000  -       0    8760  -   open               tcp.first        syn-sent                closed
<   A     700   500000  0    5840  -   reset:3@500000     -                =                       syn-sent@0+1
>   A     1001  1       0    8760  -   reset:3@1          -                =@0+1                   =@0+1
>   S     1000  -       0    8760  -   pass               tcp.opening      =@1001+1                =@0+8760
<   SA    9000  1001    0    5840  -   pass               tcp.opening      established@1001+5840   =@9001+8760
>   A     1001  9001    0    8760  -   up                 tcp.established  =                       established

story the upper bound holds after a repeated SYN whatever the responder's ISN
>   S     1000        -           0   8760  -  open       tcp.first        syn-sent                closed@0+1
>   S     1000        -           0   8760  -  pass       tcp.opening      =                       =@0+8760
<   SA    4000000000  1001        0   5840  -  pass       tcp.opening      established             syn-sent@4000000001+8760
>   A     1001        4000000001  0   8760  -  up         tcp.established  =                       established@4000000001+8760
<   A     4000007302  1001     1460   5840  -  drop:1     -                =                       =
<   A     4000007301  1001     1460   5840  -  pass       tcp.established  =                       =@4000008761+0

# RFC 9293 §3.5, figure 8. Nobody is the server; the state remembers whose SYN came first.
story both ends begin at once
>   S     1000  -     0    8760  ws2   open               tcp.first        syn-sent@1000+2         closed@0+1
<   S     9000  -     0    5840  ws1   pass               tcp.opening      =@1000+5840             syn-sent@9001+8760
>   SA    1000  9001  0    8760  ws2   pass               tcp.opening      =@1001+5839             established@9001+8760
<   SA    9000  1001  0    5840  ws1   up                 tcp.established  established@1001+5840   =@9001+8760
>   PA    1001  9001  100  2190  -     pass               tcp.established  =@1101+5740             =@9001+8760

# The server answers the SYN with an ACK and then sends a SYN of its own. pf sees a connection that both ends began; it stays
# the initiator's, so that rules and counters keep their direction.
story a handshake split into five segments
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   A     9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
<   S     9000  -     0    5840  -     pass               tcp.opening      =                       =@9001+8759
>   SA    1000  9001  0    8760  -     up                 tcp.established  =                       established
<   A     9001  1001  0    5840  -     pass               tcp.established  =                       =

story a handshake split into four segments
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   S     9000  -     0    5840  -     pass               tcp.opening      =                       syn-sent
>   SA    1000  9001  0    8760  -     pass               tcp.opening      =                       established
<   A     9001  1001  0    5840  -     up                 tcp.established  established             =

# RFC 7413: data on the SYN, and on the SYN|ACK. Both count in the windows.
story TCP Fast Open
>   S     1000  -     500  8760  -     open               tcp.first        syn-sent@1000+502       closed@0+1
<   SA    9000  1501  800  5840  -     pass               tcp.opening      established@1000+6341   syn-sent@9801+8760
>   A     1501  9801  0    8760  -     up                 tcp.established  =                       established@9801+8760
>   PA    1501  9801  5840 8760  -     pass               tcp.established  =@7341+0                =
>   PA    7341  9801  1    8760  -     drop:1             -                =                       =

story TCP Fast Open with a cookie that is not accepted
>   S     1000  -     500  8760  -     open               tcp.first        syn-sent@1000+502       closed@0+1
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established@1000+5841   syn-sent@9001+8760
>   PA    1001  9001  500  8760  -     up                 tcp.established  =@1501+5340             established@9001+8760

# RFC 3168 §6.1.1 and Accurate ECN: the bits beside the SYN mean nothing here.
story ECN is negotiated
>   SEW   1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SAE   9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
