# Each bound of the window test from both sides: the last number that passes, and the next one. Numbers of the clauses are
# those of pf's "State failure on".

# 1, upper bound: the server has opened up to 6841, the client up to 17761.
story data may reach the end of the window and not an octet further
dir flags seq   ack   len  win   opts  verdict            timer            initiator               responder
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1000+5841             established@9001+8760
>   A     5382  9001  1460 8760  -     drop:1             -                =                       =
>   A     6841  9001  1    8760  -     drop:1             -                =                       =
<   A     16302 1001  1460 5840  -     drop:1             -                =                       =
<   A     16301 1001  1460 5840  -     pass               tcp.established  =@1000+5841             =@17761+0
>   A     5381  9001  1460 8760  -     pass               tcp.established  =@6841+0                =@17761+0
<   A     17761 1001  1    5840  -     drop:1             -                =                       =
>   A     6841  9001  1    8760  -     drop:1             -                =                       =

story data far beyond the window
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    1000  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
<   A     9001  1001  1460 1000  -     pass               tcp.established  =                       =@10461+7300
<   A     83337 1001  1460 1000  -     drop:15            -                =                       =
<   A     83336 1001  1460 1000  -     drop:1             -                =                       =
<   A     10461 1001  1460 1000  -     pass               tcp.established  =                       =@11921+5840

# Numbers that lie 2³¹ apart are neither before nor behind each other: whatever is compared, it does not fit.
story data half the sequence space away
>   S     1000       -     0    1000  -  open             tcp.first        syn-sent                closed
<   SA    9000       1001  0    1000  -  pass             tcp.opening      established             syn-sent
>   A     1001       9001  0    1000  -  up               tcp.established  =@1000+1001             established@9001+1000
<   A     9001       1001  1000 1000  -  pass             tcp.established  =                       =@10001+0
<   A     2147492189 1001  1460 1000  -  drop:156         -                =                       =
<   A     2147492649 1001  1460 1000  -  drop:256         -                =                       =
<   A     2147493649 1001  1460 1000  -  drop:256         -                =                       =

# A FIN occupies a number (RFC 9293 §3.4) and no room: it may stand behind the window.
story a FIN behind a full window
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    5840  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =                       established
>   FPA   5382  9001  1460 8760  -     drop:1             -                =                       =
>   FPA   5381  9001  1460 8760  -     pass               tcp.closing      closing@6842+4294967295 =

# 2, lower bound: one window of the receiver (5840 for the client's data, 8760 for the server's).
story data may be one window old and not an octet older
>   S     1000  -     0     8760  -     open              tcp.first        syn-sent                closed
<   SA    9000  1001  0     5840  -     pass              tcp.opening      established             syn-sent
>   A     1001  9001  5840  8760  -     up                tcp.established  =@6841+0                established@9001+8760
<   A     9001  6841  8760  5840  -     pass              tcp.established  =@6841+5840             =@17761+0
>   A     6841  17761 5840  8760  -     pass              tcp.established  =@12681+0               =@17761+8760
<   A     17761 12681 8760  5840  -     pass              tcp.established  =@12681+5840            =@26521+0
>   A     6840  26521 1460  8760  -     drop:2            -                =                       =
>   A     6841  26521 1460  8760  -     pass              tcp.established  =@12681+5840            =@26521+8760
<   A     17760 12681 1460  5840  -     drop:2            -                =                       =
<   A     17761 12681 1460  5840  -     pass              tcp.established  =@12681+5840            =@26521+8760

story data that is older than the slack
>   S     1000       -    0    8760  -  open              tcp.first        syn-sent                closed
<   SA    9000       1001 0    5840  -  pass              tcp.opening      established             syn-sent
>   A     1001       9001 0    8760  -  up                tcp.established  =@1000+5841             established@9001+8760
>   A     4294901260 9001 1460 8760  -  drop:26           -                =                       =
>   A     4294901261 9001 1460 8760  -  drop:2            -                =                       =

# 3: an acknowledgment may be ahead of what was seen by 67035, for what took another path. 4: or behind by as much.
story acknowledgments may be 67035 ahead
>   S     1000  -      0    8760  -    open               tcp.first        syn-sent                closed
<   SA    9000  1001   0    5840  -    pass               tcp.opening      established             syn-sent
>   A     1001  9001   0    8760  -    up                 tcp.established  =@1000+5841             established@9001+8760
>   A     1001  76037  0    8760  -    drop:3             -                =                       =
<   A     9001  68036  0    5840  -    drop:3             -                =                       =
>   A     1001  76036  0    8760  -    pass               tcp.established  =@1000+5841             =@9001+75795
<   A     9001  68035  0    5840  -    pass               tcp.established  =@1000+72875            =

story acknowledgments may be 67035 behind
>   S     100000 -      0    8760  -   open               tcp.first        syn-sent                closed
<   SA    900000 100001 0    5840  -   pass               tcp.opening      established             syn-sent
>   A     100001 900001 0    8760  -   up                 tcp.established  =@100000+5841           established@900001+8760
>   A     100001 832965 0    8760  -   drop:4             -                =                       =
<   A     900001 32964  0    5840  -   drop:4             -                =                       =
>   A     100001 832966 0    8760  -   pass               tcp.established  =@100000+5841           =@900001+8760
<   A     900001 32965  0    5840  -   pass               tcp.established  =@100000+5841           =@900001+8760

# With a shift of 2 the initiator's acknowledgments may be 4 × 67035 = 268140 behind; ahead, nothing changes.
story scaled windows widen the bound for old acknowledgments
>   S     1000    -       0  8760  ws2  open              tcp.first        syn-sent                closed
<   SA    900000  1001    0  5840  ws0  pass              tcp.opening      established             syn-sent
>   A     1001    900001  0  2190  -    up                tcp.established  =                       established@900001+8760
>   A     1001    631860  0  2190  -    drop:4            -                =                       =
>   A     1001    631861  0  2190  -    pass              tcp.established  =                       =@900001+8760
>   A     1001    967037  0  2190  -    drop:3            -                =                       =

# Without data there is nothing to place: a bare ACK may have any sequence number, but its acknowledgment is judged.
story a segment without data is not placed
>   S     1000       -    0    8760  -  open              tcp.first        syn-sent                closed
<   SA    9000       1001 0    5840  -  pass              tcp.opening      established             syn-sent
>   A     1001       9001 0    8760  -  up                tcp.established  =@1000+5841             established@9001+8760
>   A     3000000000 9001 0    8760  -  pass              tcp.established  =@1000+5841             =@9001+8760
>   A     3000000000 8    0    8760  -  pass              tcp.established  =@1000+5841             =@9001+8760
>   FA    3000000000 9001 0    8760  -  drop:26           -                =                       =

story a segment may fail in more than one way
>   S     100000     -       0    8760  -  open           tcp.first        syn-sent                closed
<   SA    900000     100001  0    5840  -  pass           tcp.opening      established             syn-sent
>   A     100001     900001  0    8760  -  up             tcp.established  =                       established
>   PA    500000     9999999 1    8760  -  drop:135       -                =                       =
>   PA    10000      1       1    8760  -  drop:246       -                =                       =
>   RA    10000      1       1    8760  -  drop:24R6      -                =                       =

# The window update behind such a FIN must not wait for the FIN's acknowledgment: the other direction may need it.
story acknowledgments pass behind a FIN past the window
>   S     1000  -     0    8760  -     open               tcp.first        syn-sent                closed
<   SA    9000  1001  0    1000  -     pass               tcp.opening      established             syn-sent
>   A     1001  9001  0    8760  -     up                 tcp.established  =@1000+1001             established@9001+8760
>   FA    1001  9001  1000 0     -     pass               tcp.closing      closing@2002+4294967295 =
>   A     2002  9001  0    8760  -     pass               tcp.closing      =@2002+4294967295       =
>   A     2002  9001  1    8760  -     drop:1             -                =                       =
