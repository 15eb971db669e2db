-- Checks throughput.lua and the tables of this folder without pktgen: lua5.4 check.lua FILE...
--
-- In place of pktgen is a device that loses whatever is above its capacity. What pktgen itself makes of the calls is not
-- checked here.
local capacity, ranges, settings, totals, device

-- Fields of ranges by port, as they were set.
local function recorder(name)
    return function(port, what, value)
        ranges[port] = ranges[port] or {}
        ranges[port][name .. "." .. what] = value
    end
end

local function fresh(taken)
    capacity, ranges, settings = taken, {}, {}
    totals = { [0] = { opackets = 0, ipackets = 0 }, [1] = { opackets = 0, ipackets = 0 } }
    device = { range = {} }
    for _, name in ipairs { "dst_mac", "src_ip", "dst_ip", "src_port", "dst_port", "pkt_size" } do
        device.range[name] = recorder(name)
    end
    device.range.ip_proto = function(port, proto) recorder("ip_proto")(port, "is", proto) end
    device.set = function(_, what, value) settings[what] = value end
    device.set_range = function(port, state) assert(state == "on" and ranges[port]) end
    device.start = function(ports) device.running = ports end
    device.stop = function() device.running = nil end
    device.delay = function(milliseconds)
        for port in (device.running or ""):gmatch("%d") do
            local sent = math.floor(settings.rate * milliseconds)
            local from, to = totals[tonumber(port)], totals[1 - tonumber(port)]
            from.opackets = from.opackets + sent
            to.ipackets = to.ipackets + math.min(sent, math.floor(capacity * milliseconds))
        end
    end
    device.portStats = function()
        local copy = {}
        for port, counts in pairs(totals) do
            copy[port] = { opackets = counts.opackets, ipackets = counts.ipackets }
        end
        return copy
    end
    return device
end

local environment = { TURNPIKE_CLIENT_PEER = "02:00:00:00:00:01", TURNPIKE_SERVER_PEER = "02:00:00:00:00:02" }
os.getenv = function(name) return environment[name] end
package.preload.Pktgen = function() return true end
print = function() end

local folder = arg[0]:match("^(.*/)") or ""
assert(#arg > 0, "no table to check")
for _, file in ipairs(arg) do
    environment.TURNPIKE_PROFILE = file
    local profile = dofile(file)
    for _, taken in ipairs { 0.4, 42.5, 99.5, 100, 1000 } do
        pktgen = fresh(taken)
        dofile(folder .. "throughput.lua")
        local expected = math.min(taken, 100)
        assert(throughput <= expected and expected - throughput <= 1, file .. ": " .. throughput .. " of " .. taken)
        assert(ranges["0"]["src_ip.min"] == profile.clients[1] and ranges["1"]["dst_ip.max"] == profile.clients[2])
        assert(ranges["0"]["src_port.max"] == profile.client_ports[2] and ranges["1"]["dst_port.inc"] == 1)
        assert(ranges["0"]["dst_mac.start"] == environment.TURNPIKE_CLIENT_PEER)
        assert(ranges["1"]["pkt_size.max"] == profile.size and ranges["1"]["ip_proto.is"] == "udp")
    end
end
io.write(#arg, " passed, 0 failed\n")
