-- Ends the sessions of a server that is down or in maintenance. `on-marked-down shutdown-sessions` would too, but HAProxy 3.0 then
-- keeps for ever whatever it was just connecting to that server (docs/failover.md). So this waits until no try is left.
--
-- A reload leaves the process before it to its sessions, and HAProxy checks no server in there any more. That process asks the one
-- that took its place (the service `servers`), and ends its own sessions of what that one holds down. No answer ends nothing.
--
-- lua-load end_sessions.lua SECONDS ADDRESS BACKEND ...
--   SECONDS  how long there has been no sign of a try to connect to a server before its sessions are ended
--   ADDRESS  where the process that serves answers `/servers` with the service of that name
local quiet, address, backends = tonumber((...)), (select(2, ...)), { select(3, ...) }
local gone = { DOWN = true, MAINT = true }
local PAUSE = 0.5 -- seconds from one look to the next

local function now()
    local time = core.now()
    return time.sec + time.usec / 1000000
end

-- Calls something for each server with its name, which has the address too: after a reload the same word may mean another host.
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

-- Whether a reload has put another process in the place of this one.
local function is_former()
    stopping = stopping or tonumber(core.get_info().Stopping) == 1
    return stopping
end

core.register_service("servers", "http", function(applet)
    local lines = {}
    each_server(function(key, _, stats) lines[#lines + 1] = key .. " " .. (is_gone(stats) and "gone" or "there") .. "\n" end)
    local body = table.concat(lines)
    -- A former process knows nothing, and still answers whoever was connected to it.
    applet:set_status(is_former() and 503 or 200)
    applet:add_header("content-type", "text/plain")
    applet:add_header("content-length", #body)
    applet:start_response()
    applet:send(body)
end)

-- What the process that serves says of its servers; nil where it does not within a second. Not by core.httpclient, which logs
-- every question.
local function ask(socket)
    socket:settimeout(1)
    if not socket:connect(address) or not socket:send("GET /servers HTTP/1.0\r\n\r\n") then return nil end
    local answer = socket:receive("*a")
    return answer and answer:match("^HTTP/1%.[01] 200 .-\r\n\r\n(.*)$")
end

-- What the process that serves holds down, {name and address = true}; empty where it does not answer.
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

-- With `late` the machine is busy: tries that should have ended may not have.
local function look(late)
    local time, down = now(), is_former() and held_down()
    each_server(function(key, server, stats)
        local is_down
        if down then is_down = down[key] else is_down = is_gone(stats) end
        if not is_down then
            seen[key] = nil
            return
        end
        local tries = stats.wretr + stats.wredis + stats.econ -- each that ends is counted in one of them
        local before = seen[key] or { first = time }
        if late or before.tries ~= tries then before.since, before.tries = time, tries end
        seen[key] = before
        if time - before.since >= quiet or time - before.first >= 10 * quiet then server:shut_sess() end
    end)
end

core.register_task(function()
    local late = false
    while true do
        -- HAProxy ends a task that fails for good. What fails here for want of memory may work in half a second.
        pcall(look, late)
        local before = now()
        core.msleep(PAUSE * 1000)
        late = now() - before > 2 * PAUSE
    end
end)
