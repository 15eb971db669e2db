-- RFC 2544's throughput by pktgen: the highest rate without loss, by bisection, for a range of this folder.
--
--     TURNPIKE_PROFILE=udp_64.lua TURNPIKE_CLIENT_PEER=3c:fd:fe:00:00:01 TURNPIKE_SERVER_PEER=3c:fd:fe:00:00:02 \
--     pktgen -l 0-4 -a 0000:03:00.0 -a 0000:03:00.1 -- -P -m "[1:2].0, [3:4].1" -f throughput.lua
--
-- The peers are the Ethernet addresses of the device under test, on the clients' side (port 0) and the servers' (port 1).
-- TURNPIKE_SECONDS is the time of a trial (60), TURNPIKE_PRECISION how close the result is, in percent of the line (1).
package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;../?.lua"
require "Pktgen"

local profile = dofile(os.getenv("TURNPIKE_PROFILE") or "udp_64.lua")
local seconds = tonumber(os.getenv("TURNPIKE_SECONDS") or 60)
local precision = tonumber(os.getenv("TURNPIKE_PRECISION") or 1)
local peers = {
    assert(os.getenv("TURNPIKE_CLIENT_PEER"), "TURNPIKE_CLIENT_PEER is not set"),
    assert(os.getenv("TURNPIKE_SERVER_PEER"), "TURNPIKE_SERVER_PEER is not set"),
}
local settle = 2000 -- milliseconds

-- A field that goes from the first value to the last, one at a time.
local function field(set, port, range, step)
    set(port, "start", range[1])
    set(port, "min", range[1])
    set(port, "max", range[2])
    set(port, "inc", step)
end

local function prepare(number)
    local port = tostring(number)
    local forth = number == 0
    local range = pktgen.range
    local server_port = { profile.server_port, profile.server_port }
    field(range.dst_mac, port, { peers[number + 1], peers[number + 1] }, "00:00:00:00:00:00")
    field(range.src_ip, port, forth and profile.clients or profile.servers, "0.0.0.1")
    field(range.dst_ip, port, forth and profile.servers or profile.clients, "0.0.0.1")
    field(forth and range.src_port or range.dst_port, port, profile.client_ports, 1)
    field(forth and range.dst_port or range.src_port, port, server_port, 0)
    field(range.pkt_size, port, { profile.size, profile.size }, 0)
    range.ip_proto(port, "udp")
    pktgen.set(port, "count", 0)
    pktgen.set_range(port, "on")
end

-- What both ports have sent, and what has come to the other one of each sender.
local function counts()
    local stats = pktgen.portStats("all", "port")
    local sent, received = 0, 0
    for _, sender in ipairs(profile.senders) do
        sent = sent + stats[sender].opackets
        received = received + stats[1 - sender].ipackets
    end
    return sent, received
end

-- True if a trial at this percentage of the line loses nothing. Counters only grow: a trial is a difference.
local function is_clean(rate)
    local ports = table.concat(profile.senders, ",")
    pktgen.set(ports, "rate", rate)
    local sent_before, received_before = counts()
    pktgen.start(ports)
    pktgen.delay(seconds * 1000)
    pktgen.stop(ports)
    pktgen.delay(settle)
    local sent, received = counts()
    sent, received = sent - sent_before, received - received_before
    print(string.format("%6.2f %%: %d sent, %d lost", rate, sent, math.max(0, sent - received)))
    return sent > 0 and received >= sent
end

local function search()
    if is_clean(100) then
        return 100
    end
    local without, with = 0, 100
    while with - without > precision do
        local middle = (without + with) / 2
        if is_clean(middle) then
            without = middle
        else
            with = middle
        end
    end
    return without
end

prepare(0)
prepare(1)
throughput = search()
print(string.format("throughput: %.2f %% of the line in frames of %d bytes", throughput, profile.size))
