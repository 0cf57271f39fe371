-- Ends the sessions of a server that is down or in maintenance. `on-marked-down shutdown-sessions` would too, but HAProxy 3.0 then
-- keeps for ever whatever it was just connecting to that server (docs/failover.md). So this waits until every try has ended.
--
-- lua-load end_sessions.lua SECONDS BACKEND ...
local patience, backends = tonumber((...)), { select(2, ...) }
local gone = { DOWN = true, MAINT = true }

local since = {}

local function look()
    local now = core.now().sec
    for _, backend in ipairs(backends) do
        for name, server in pairs(core.backends[backend].servers) do
            local key = backend .. "/" .. name
            since[key] = gone[server:get_stats().status:match("^%a+")] and (since[key] or now) or nil
            if since[key] and now - since[key] >= patience then server:shut_sess() end
        end
    end
end

core.register_task(function()
    while true do
        -- HAProxy ends a task that fails for good. What fails here for want of memory may work in half a second.
        pcall(look)
        core.msleep(500)
    end
end)
