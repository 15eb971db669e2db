# Window scaling (RFC 7323 §2): only if both SYNs offer it, never for the window of a SYN, shifts up to 14.

story both ends scale
dir flags seq   ack    len   win   opts  verdict          timer            initiator               responder
>   S     1000  -      0     65535 ws7   open             tcp.first        syn-sent@1000+2         closed@0+1
<   SA    9000  1001   0     5792  ws2   pass             tcp.opening      established@1000+5793   syn-sent@9001+65536
>   A     1001  9001   0     512   -     up               tcp.established  =                       established@9001+65536
<   A     9001  1001   65000 1448  -     pass             tcp.established  =@1000+5793             =@74001+536
<   A     74001 1001   537   1448  -     drop:1           -                =                       =
<   A     74001 1001   536   1448  -     pass             tcp.established  =@1000+5793             =@74537+0
>   A     1001  74537  0     1024  -     pass             tcp.established  =                       =@74537+131072
<   A     74537 1001   60000 1448  -     pass             tcp.established  =                       =@134537+71072
<   A     134537 1001  60000 16384 -     pass             tcp.established  =@1000+65537            =@194537+11072
>   A     1001  194537 65000 1024  -     pass             tcp.established  =@66001+536             =@194537+131072

# The window of a SYN is rounded up to a whole number of units, so that it is never understated.
story the window of a SYN is not scaled
>   S     1000  -      0     100   ws4   open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     100   ws0   pass             tcp.opening      established@1000+101    syn-sent@9001+112
>   A     1001  9001   0     7     -     up               tcp.established  =                       established@9001+112
<   A     9001  1001   113   100   -     drop:1           -                =                       =
<   A     9001  1001   112   100   -     pass             tcp.established  =                       =@9113+0

# 8760 is stored as 69 units of 128; declined, it is 69 × 128 = 8832, and the shift is void from then on.
story the server declines
>   S     1000  -      0     8760  ws7   open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     5840  -     pass             tcp.opening      established@1000+5841   syn-sent@9001+8832
<   SA    9000  1001   0     5840  -     pass             tcp.opening      =@1000+5841             =@9001+8832
>   A     1001  9001   0     8760  -     up               tcp.established  =                       established@9001+8832
<   A     9001  1001   8833  5840  -     drop:1           -                =                       =
<   A     9001  1001   8832  5840  -     pass             tcp.established  =                       =@17833+0
>   A     1001  17833  0     100   -     pass             tcp.established  =                       =@17833+100

story the server offers what the client has not
>   S     1000  -      0     8760  -     open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     5840  ws7   pass             tcp.opening      established@1000+5841   syn-sent@9001+8760
>   A     1001  9001   0     8760  -     up               tcp.established  =                       established@9001+8760
<   A     9001  1001   8761  5840  -     drop:1           -                =                       =
>   A     1001  9001   5841  8760  -     drop:1           -                =                       =
<   A     9001  1001   8760  5840  -     pass             tcp.established  =                       =@17761+0
>   A     1001  17761  5840  8760  -     pass             tcp.established  =@6841+0                =@17761+8760

story an offer that is not on a SYN means nothing
>   S     1000  -      0     8760  -     open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     5840  -     pass             tcp.opening      established             syn-sent
>   A     1001  9001   0     8760  ws7   up               tcp.established  =                       established@9001+8760
<   A     9001  1001   0     5840  ws7   pass             tcp.established  =@1000+5841             =
>   A     1001  9001   5841  8760  ws7   drop:1           -                =                       =
<   A     9001  1001   8761  5840  ws7   drop:1           -                =                       =

# RFC 7323 §2.3: a larger shift counts as 14.
story a shift of 15 counts as 14
>   S     1000  -      0     65535 ws15  open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     65535 ws15  pass             tcp.opening      established@1000+65537  syn-sent@9001+65536
>   A     1001  9001   0     1     -     up               tcp.established  =                       established@9001+65536
>   A     1001  9001   0     5     -     pass             tcp.established  =                       =@9001+81920
<   A     9001  1001   0     5     -     pass             tcp.established  =@1000+81921            =

# The window may not fit what an unscaled one can be: 65535.
story a declined offer of a large window
>   S     1000  -      0     65535 ws14  open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     65535 -     pass             tcp.opening      established@1000+65536  syn-sent@9001+65535

# A shift of 0 says: I scale, by nothing. The other end may then scale.
story the server scales and the client by nothing
>   S     1000  -      0     8760  ws0   open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     8192  ws3   pass             tcp.opening      established@1000+8193   syn-sent@9001+8760
>   A     1001  9001   0     8760  -     up               tcp.established  =                       established@9001+8760
<   A     9001  1001   0     2048  -     pass             tcp.established  =@1000+16385            =

# As pf: once an end is seen, the window of its SYN is taken as it is, so that of a repeated SYN counts in units. The bounds
# are wider than they need be, never narrower.
story the window of a repeated SYN counts in units
>   S     1000  -      0     8192  ws4   open             tcp.first        syn-sent                closed
>   S     1000  -      0     8192  ws4   pass             tcp.opening      =@1001+1                =@0+8192
<   SA    9000  1001   0     8192  ws0   pass             tcp.opening      established@1001+8192   syn-sent@9001+131072

# At least one unit, so that the other end can begin.
story a SYN with a window of 0
>   S     1000  -      0     0     ws4   open             tcp.first        syn-sent                closed
<   SA    9000  1001   0     8192  ws0   pass             tcp.opening      established@1000+8193   syn-sent@9001+16
