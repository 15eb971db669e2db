# Traffic of an established connection.

story data both ways
dir flags seq   ack   len  win   opts  verdict            timer            initiator               responder
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   PA    1001  9001  1460 8760  -     pass               tcp.established  =@2461+4380             =@9001+8760
<   A     9001  2461  1460 5840  -     pass               tcp.established  =@2461+5840             =@10461+7300
<   PA    10461 2461  1460 5840  -     pass               tcp.established  =@2461+5840             =@11921+5840
>   A     2461  11921 0    8760  -     pass               tcp.established  =@2461+5840             =@11921+8760

# Lost behind the firewall: what was seen, and acknowledged or not, is sent again.
story retransmission
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    8760  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   PA    1001  9001  1460 8760  -     pass               tcp.established  =@2461+7300             =
>   PA    2461  9001  1460 8760  -     pass               tcp.established  =@3921+5840             =
>   PA    1001  9001  1460 8760  -     pass               tcp.established  =@3921+5840             =
>   PA    2461  9001  1460 8760  -     pass               tcp.established  =@3921+5840             =
<   A     9001  3921  0    8760  -     pass               tcp.established  =@3921+8760             =
>   PA    1001  9001  1460 8760  -     pass               tcp.established  =@3921+8760             =

story segments overtake each other
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    8760  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   PA    3921  9001  1460 8760  -     pass               tcp.established  =@5381+4380             =
>   PA    2461  9001  1460 8760  -     pass               tcp.established  =@5381+4380             =
>   PA    1001  9001  1460 8760  -     pass               tcp.established  =@5381+4380             =

# The receiver is full. One octet may always be sent to ask (RFC 9293 §3.8.6.1), two may not.
story the window is closed, probed and opened
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    1000  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   PA    1001  9001  1000 8760  -     pass               tcp.established  =@2001+0                =
<   A     9001  2001  0    0     -     pass               tcp.established  =@2001+1                =
>   A     2001  9001  2    8760  -     drop:1             -                =                       =
>   A     2001  9001  1    8760  -     pass               tcp.established  =@2002+0                =
<   A     9001  2001  0    0     -     pass               tcp.established  =@2002+0                =
>   A     2001  9001  1    8760  -     pass               tcp.established  =@2002+0                =
<   A     9001  2002  0    1000  -     pass               tcp.established  =@2002+1000             =
>   PA    2002  9001  1000 8760  -     pass               tcp.established  =@3002+0                =

# RFC 9293 §3.8.4: one before the next octet, with no data or one octet of it.
story keep-alive
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    8760  -     pass               tcp.opening      established             syn-sent
>   PA    1001  9001  100  8760  -     up                 tcp.established  =@1101+8660             established
<   A     9001  1101  0    8760  -     pass               tcp.established  =@1101+8760             =
>   A     1100  9001  0    8760  -     pass               tcp.established  =@1101+8760             =
<   A     9001  1101  0    8760  -     pass               tcp.established  =@1101+8760             =
>   A     1100  9001  1    8760  -     pass               tcp.established  =@1101+8760             =
<   A     9000  1101  0    8760  -     pass               tcp.established  =                       =@9001+8760

story urgent data
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    8760  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   PAU   1001  9001  1    8760  -     pass               tcp.established  =@1002+8759             =

# A window, once announced, is remembered: what was sent in reliance on it still passes after the receiver takes it back.
story the receiver shrinks its window
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
<   A     9001  1001  0    100   -     pass               tcp.established  =@1000+5841             =
>   PA    5381  9001  1460 8760  -     pass               tcp.established  =@6841+0                =
