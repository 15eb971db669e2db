# Resets of established connections (RFC 5961 §3): which ones end a connection, and which cannot. The client has sent up to
# 1101 and may send up to 6941; the server is at 9001.

story an exact reset
dir flags seq   ack   len  win   opts  verdict            timer            initiator               responder
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   PA    1001  9001  100  8760  -     up                 tcp.established  =                       established
<   A     9001  1101  0    5840  -     pass               tcp.established  =@1101+5840             =@9001+8760
>   R     1101  -     0    0     -     pass               tcp.closed       time-wait@1101+5840     time-wait@9001+8760
<   A     9001  1101  0    5840  -     pass               tcp.closed       =                       =

story an exact reset by the server
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   PA    1001  9001  100  8760  -     up                 tcp.established  =                       established
<   RA    9001  1101  0    0     -     pass               tcp.closed       time-wait               time-wait

# One off is exact enough: pf does not count the client's SYN until it has sent data.
story a reset may be one off
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1000+5841             established
>   R     1002  -     0    0     -     drop:R             -                =                       =
>   R     998   -     0    0     -     drop:R             -                =                       =
>   R     1001  -     0    0     -     pass               tcp.closed       time-wait               time-wait

story a reset may be one before
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1000+5841             established
>   R     999   -     0    0     -     pass               tcp.closed       time-wait               time-wait

# What a blind attacker can send: RFC 5961 §3.2 would let the host ask back; pf drops, and the connection lives on.
story blind resets
>   S     1000       -     0    8760  -  open             tcp.first        syn-sent                closed
<   SA    9000       1001  0    5840  -  pass             tcp.opening      established             syn-sent
>   PA    1001       9001  100  8760  -  up               tcp.established  =                       established
<   A     9001       1101  0    5840  -  pass             tcp.established  =@1101+5840             =@9001+8760
>   R     0          -     0    0     -  drop:R           -                =                       =
>   R     1103       -     0    0     -  drop:R           -                =                       =
>   R     1099       -     0    0     -  drop:R           -                =                       =
>   R     6941       -     0    0     -  drop:R           -                =                       =
>   R     3000000000 -     0    0     -  drop:R           -                =                       =
<   R     0          -     0    0     -  drop:R           -                =                       =
<   R     9003       -     0    0     -  drop:R           -                =                       =
<   R     17761      -     0    0     -  drop:R           -                =                       =
<   RA    17000      1000  0    0     -  drop:R           -                =                       =
<   RA    9001       80000 0    0     -  drop:3           -                =                       =
>   PA    1101       9001  100  8760  -  pass             tcp.established  =@1201+5740             =
<   A     9001       1201  0    5840  -  pass             tcp.established  =@1201+5840             =
<   R     9001       -     0    0     -  pass             tcp.closed       time-wait               time-wait

# The sender has lost a segment in front of the firewall's last one, and resets from before the gap. It knows both
# sequences: its acknowledgment is exact. One window back, and not further; nor ahead.
story a reset from before a gap
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   PA    3921  9001  1460 8760  -     pass               tcp.established  =@5381+1460             =@9001+8760
>   R     1001  -     0    0     -     drop:R             -                =                       =
>   RA    1001  9000  0    0     -     drop:R             -                =                       =
>   RA    1001  9002  0    0     -     drop:R             -                =                       =
>   RA    5383  9001  0    0     -     drop:R             -                =                       =
>   RA    4294966836 9001 0 0    -     drop:R             -                =                       =
>   RA    1001  9001  0    0     -     pass               tcp.closed       time-wait               time-wait

story a reset one window back with an exact acknowledgment
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   PA    3921  9001  1460 8760  -     pass               tcp.established  =@5381+1460             =@9001+8760
>   RA    4294966837 9001 0 0    -     pass               tcp.closed       time-wait               time-wait

# An acknowledgment of 0 is forgiven where the sequence number is exact. It must not count as an exact one, or a forged
# reset would need no more than a number within the window. The SYN shows that the state persists.
story a forged reset that acknowledges 0
>   S     1000       -     0    8760  -  open             tcp.first        syn-sent                closed
<   SA    9000       1001  0    5840  -  pass             tcp.opening      established             syn-sent
>   A     1001       9001  0    8760  -  up               tcp.established  =@1000+5841             established@9001+8760
>   RA    4294965376 0     0    0     -  drop:R           -                =                       =
>   S     1000       -     0    8760  -  challenge:9001/1000 -             =                       =
>   RA    1001       0     0    0     -  pass             tcp.closed       time-wait               time-wait

# A SYN on the live connection, then a reset where the SYN was: neither moves anything.
story a forged SYN and a reset that fits it
>   S     1000    -     0    8760  -   open               tcp.first        syn-sent                closed
<   SA    9000    1001  0    5840  -   pass               tcp.opening      established             syn-sent
>   A     1001    9001  0    8760  -   up                 tcp.established  =@1000+5841             established@9001+8760
>   S     1000000 -     0    8760  -   challenge:9001/1000 -               =                       =
>   R     1000000 -     0    0     -   drop:R             -                =                       =
>   R     1000001 -     0    0     -   drop:R             -                =                       =
>   PA    1001    9001  100  8760  -   pass               tcp.established  =                       =

# The answer to a challenge: a host that does not know the connection resets it with the number that was acknowledged.
story a reset in answer to a challenge
>   S     1000    -     0    8760  -   open               tcp.first        syn-sent                closed
<   SA    9000    1001  0    5840  -   pass               tcp.opening      established             syn-sent
>   A     1001    9001  0    8760  -   up                 tcp.established  =@1000+5841             established@9001+8760
>   S     1000000 -     0    8760  -   challenge:9001/1000 -               =                       =
>   R     1000    -     0    0     -   pass               tcp.closed       time-wait               time-wait
>   S     1000000 -     0    8760  -   reuse              tcp.first        syn-sent@1000000+2      closed@0+1

# A FIN that is acknowledged relaxes the test; one that is not does not.
story an inexact reset while closing
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   FA    1001  9001  0    8760  -     pass               tcp.closing      closing@1002+5839       =
<   R     9100  -     0    0     -     drop:R             -                =                       =
<   A     9001  1002  0    5840  -     pass               tcp.closing      fin-wait-2              =
<   R     9100  -     0    0     -     loose              -                time-wait               time-wait

story an inexact reset by the end that closed
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   FPA   1001  9001  100  8760  -     pass               tcp.closing      closing@1102+5739       established
>   R     1001  -     0    0     -     drop:R             -                =                       =
<   A     9001  1102  0    5840  -     pass               tcp.closing      fin-wait-2@1102+5840    =
>   R     1001  -     0    0     -     loose              -                time-wait               time-wait

# A reset may carry text (RFC 9293 §3.10.7); then it is placed like any data.
story a reset with text
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1000+5841             established@9001+8760
>   RA    1001  9001  5841 0     -     drop:1             -                =                       =
>   RA    1001  9001  20   0     -     pass               tcp.closed       time-wait               time-wait
