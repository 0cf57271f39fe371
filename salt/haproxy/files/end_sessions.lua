-- Ends the sessions of a server that is down or in maintenance. `on-marked-down shutdown-sessions` does the same, but HAProxy 3.0
-- then keeps sessions forever that it was just connecting to that server (docs/failover.md). So this waits until no attempt is
-- open.
--
-- After a reload the old process keeps its sessions, but no longer checks servers. It asks the new process (the service
-- `servers`), and ends its own sessions of servers that are down there. Without an answer it ends nothing.
--
-- lua-load end_sessions.lua SECONDS ADDRESS BACKEND ...
--   SECONDS  time without an attempt to connect to a server before its sessions are ended
--   ADDRESS  where the new process answers `/servers` with the service of that name
local quiet, address, backends = tonumber((...)), (select(2, ...)), { select(3, ...) }
local gone = { DOWN = true, MAINT = true }
local PAUSE = 0.5 -- seconds between two checks

local function now()
    local time = core.now()
    return time.sec + time.usec / 1000000
end

-- Calls a function for each server with its name, which includes the address: after a reload a name may mean another host.
local function each_server(call)
    for _, backend in ipairs(backends) do
        for name, server in pairs(core.backends[backend].servers) do
            call(backend .. "/" .. name .. " " .. server:get_addr(), server, server:get_stats())
        end
    end
end

local function is_gone(stats)
    return gone[stats.status:match("^%a+")]
end

local stopping = false

-- Returns whether a reload has replaced this process.
local function is_former()
    stopping = stopping or tonumber(core.get_info().Stopping) == 1
    return stopping
end

core.register_service("servers", "http", function(applet)
    local lines = {}
    each_server(function(key, _, stats) lines[#lines + 1] = key .. " " .. (is_gone(stats) and "gone" or "there") .. "\n" end)
    local body = table.concat(lines)
    -- An old process has no current state, but still answers on existing connections.
    applet:set_status(is_former() and 503 or 200)
    applet:add_header("content-type", "text/plain")
    applet:add_header("content-length", #body)
    applet:start_response()
    applet:send(body)
end)

-- Returns the new process's answer about its servers; nil if there is none within a second. Not with core.httpclient, which logs
-- every request.
local function ask(socket)
    socket:settimeout(1)
    if not socket:connect(address) or not socket:send("GET /servers HTTP/1.0\r\n\r\n") then return nil end
    local answer = socket:receive("*a")
    return answer and answer:match("^HTTP/1%.[01] 200 .-\r\n\r\n(.*)$")
end

-- Returns the servers that are down in the new process, {name and address = true}; empty if it does not answer.
local function held_down()
    local found, socket = {}, core.tcp()
    local answered, body = pcall(ask, socket)
    pcall(socket.close, socket)
    for key, word in (answered and body or ""):gmatch("(%S+ %S+) (%a+)\n") do
        found[key] = word == "gone" or nil
    end
    return found
end

local seen = {}

-- `late` means that the host is busy: attempts may not have ended in time.
local function check(late)
    local time, down = now(), is_former() and held_down()
    each_server(function(key, server, stats)
        local is_down
        if down then is_down = down[key] else is_down = is_gone(stats) end
        if not is_down then
            seen[key] = nil
            return
        end
        local tries = stats.wretr + stats.wredis + stats.econ -- each finished attempt is counted in one of them
        local before = seen[key] or { first = time }
        if late or before.tries ~= tries then before.since, before.tries = time, tries end
        seen[key] = before
        if time - before.since >= quiet or time - before.first >= 10 * quiet then server:shut_sess() end
    end)
end

core.register_task(function()
    local late = false
    while true do
        -- HAProxy ends a task that fails permanently. What fails here for lack of memory may work half a second later.
        pcall(check, late)
        local before = now()
        core.msleep(PAUSE * 1000)
        late = now() - before > 2 * PAUSE
    end
end)
