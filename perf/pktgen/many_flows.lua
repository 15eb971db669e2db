-- UDP in frames of 64 bytes, a million flows: perf/profiles/many-flows.toml for pktgen, read by throughput.lua.
-- Made from the definition: UPDATE_EXPORTS=1 cargo test -p tgen --test exports
return {
    size = 64,
    clients = { "198.18.128.1", "198.18.206.32" },
    servers = { "198.19.128.1", "198.19.131.232" },
    client_ports = { 1024, 1074 },
    server_port = 9,
    senders = { 0, 1 },
}
