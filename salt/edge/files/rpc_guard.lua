-- Managed by Salt (salt/edge). Judges what edge.cfg cannot: batches, calls whose method is not certain from plain text, and
-- bodies that exceed a buffer. The parser is strict: what two parsers could understand differently is refused.
--
-- lua-load-per-thread rpc_guard.lua LARGEST_BATCH LARGEST_BODY NODE_TIMEOUT
--     calls of a batch; bytes of a body; seconds for a node to answer
-- http-request lua.rpc_guard
--     judges a request that is complete in the buffer: sets txn.class (of the most expensive call), txn.read, txn.heavy and
--     txn.write (the number of calls of each class), txn.id (JSON, for the answer) and txn.judged, or answers with an error.
--     HAProxy ignores an action that fails, so edge.cfg refuses a request without txn.judged.
-- http-request use-service lua.rpc_large
--     reads a request of any size, judges it, and forwards it to the frontend rpc_judged
-- filter lua.rpc_deadline
--     ends a request whose body is not complete within LONGEST seconds: receive() waits for the requested number of bytes, and
--     HAProxy's own timeouts apply between two pieces only

local largest_batch, largest_body, node_timeout = ...
largest_batch, largest_body, node_timeout = tonumber(largest_batch), tonumber(largest_body), tonumber(node_timeout)
local LONGEST = 30
local DEEPEST = 64
local MOST = 10000  -- elements of all lists of a body: each costs as much as about a hundred bytes of text
local left = MOST
-- Bytes requested from receive() at once; it returns fewer, since headers count too. A buffer has 16 KiB, and Lua needs 20 KiB
-- for a text of that size.
local PIECE = 16000
-- Proves that a judged request comes from here: every process on this host can connect to an abstract socket.
local file = assert(io.open("/etc/haproxy/rpc-judged.key"))
local key = assert(file:read("l"), "/etc/haproxy/rpc-judged.key is empty")
file:close()
local classes = Map.new("/etc/haproxy/rpc-classes.map", Map._beg)
local RANK = { read = 1, heavy = 2, write = 3 }

local function skip_space(s, i)
    return s:find("[^ \t\r\n]", i) or #s + 1
end

-- Returns the index after the string that begins at i, and whether it has no escapes; nil if it is not a string.
local function skip_string(s, i)
    if s:byte(i) ~= 34 then return nil end
    local plain, j = true, i + 1
    while true do
        local k = s:find('["\\\0-\31]', j)
        if not k then return nil end
        local c = s:byte(k)
        if c == 34 then return k + 1, plain end
        if c ~= 92 then return nil end
        plain = false
        if s:find("^u%x%x%x%x", k + 1) then j = k + 6
        elseif s:find('^["\\/bfnrt]', k + 1) then j = k + 2
        else return nil end
    end
end

local function skip_number(s, i)
    local _, e = s:find("^-?%d+", i)
    if not e or s:find("^-?0%d", i) then return nil end
    local _, f = s:find("^%.%d+", e + 1)
    e = f or e
    local _, g = s:find("^[eE][+-]?%d+", e + 1)
    return (g or e) + 1
end

local skip_value

-- Returns the index after the list of members or elements that begins at i; element(index, depth) parses each of them.
local function skip_list(s, i, depth, closing, element)
    i = skip_space(s, i + 1)
    if s:byte(i) == closing then return i + 1 end
    while true do
        left = left - 1
        if left < 0 then return nil end
        i = element(i, depth)
        if not i then return nil end
        i = skip_space(s, i)
        local c = s:byte(i)
        if c == closing then return i + 1 end
        if c ~= 44 then return nil end
        i = skip_space(s, i + 1)
    end
end

local function skip_member(s, i, depth)
    i = skip_string(s, i)
    if not i then return nil end
    i = skip_space(s, i)
    if s:byte(i) ~= 58 then return nil end
    return skip_value(s, skip_space(s, i + 1), depth)
end

local WORDS = { [116] = "true", [102] = "false", [110] = "null" }  -- by their first byte

function skip_value(s, i, depth)
    local c = s:byte(i)
    if depth > DEEPEST then return nil end
    if c == 34 then return (skip_string(s, i)) end
    if c == 123 then
        return skip_list(s, i, depth, 125, function(j, d) return skip_member(s, j, d + 1) end)
    end
    if c == 91 then
        return skip_list(s, i, depth, 93, function(j, d) return skip_value(s, j, d + 1) end)
    end
    local word = WORDS[c]
    if not word then return skip_number(s, i) end
    return s:sub(i, i + #word - 1) == word and i + #word or nil
end

-- Returns the index after the call, and {method, id, wrong}; nil if it is not JSON.
local function read_call(s, i)
    local call, seen = { id = "null" }, {}
    if s:byte(i) ~= 123 then
        call.wrong = "a call must be an object"
        return skip_value(s, i, 1), call
    end
    local ending = skip_list(s, i, 1, 125, function(j, depth)
        local after, plain = skip_string(s, j)
        if not after then return nil end
        local key = s:sub(j + 1, after - 2)
        -- Of duplicate keys some nodes use the first, others the last; some ignore case.
        if not plain or seen[key:lower()] then call.wrong = "duplicate key, or key with escapes" end
        seen[key:lower()] = true
        local colon = skip_space(s, after)
        if s:byte(colon) ~= 58 then return nil end
        local from = skip_space(s, colon + 1)
        local to = skip_value(s, from, depth + 1)
        if not to then return nil end
        local value = s:sub(from, to - 1)
        if key == "method" then
            call.method = value:match('^"([%w_.]+)"$')
        elseif key == "id" and #value <= 128 and not value:find("^[%[{tf]") then
            call.id = value
        end
        return to
    end)
    if ending and not call.wrong and not call.method then call.wrong = "missing method" end
    return ending, call
end

-- Returns the calls of a body, and whether they are a batch; nil if it cannot be parsed.
local function read_body(s)
    local i, calls = skip_space(s, 1), {}
    left = MOST
    local function add_call(j)
        local ending, call = read_call(s, j)
        calls[#calls + 1] = call
        return ending
    end
    local batch = s:byte(i) == 91
    local ending
    if batch then ending = skip_list(s, i, 1, 93, add_call) else ending = add_call(i) end
    if not ending or skip_space(s, ending) <= #s or not utf8.len(s) then return nil end
    return calls, batch
end

local function fault(id, code, message)
    return '{"jsonrpc":"2.0","id":' .. id .. ',"error":{"code":' .. code .. ',"message":"' .. message .. '"}}'
end

-- Returns the answer of a refused body, {status, body}; for an accepted body nil and its calls, {class, id, read, heavy, write}.
local function judge(body)
    local calls, batch = read_body(body)
    if left < 0 then return { 413, fault("null", -32600, "a body must have at most " .. MOST .. " elements") } end
    if not calls then return { 400, fault("null", -32700, "invalid JSON") } end
    if #calls == 0 then return { 400, fault("null", -32600, "empty batch") } end
    if #calls > largest_batch then
        return { 413, fault("null", -32600, "a batch must have at most " .. largest_batch .. " calls") }
    end
    local asked = { class = "read", id = batch and "null" or calls[1].id, read = 0, heavy = 0, write = 0 }
    local status = 200
    for _, call in ipairs(calls) do
        local class = call.method and (classes:lookup(call.method) or "forbidden")
        if call.wrong then
            call.code, status = -32600, 400
        elseif class == "forbidden" then
            call.code, call.wrong, status = -32601, "the method " .. call.method .. " is not available", 403
        else
            asked[class] = asked[class] + 1
            if RANK[class] > RANK[asked.class] then asked.class = class end
        end
    end
    if status == 200 then return nil, asked end
    local faults = {}
    for n, call in ipairs(calls) do
        faults[n] = fault(call.id, call.code or -32600, call.wrong or "not executed: another call of this batch is refused")
    end
    local text = table.concat(faults, ",")
    return { status, batch and "[" .. text .. "]" or text }
end

core.register_action("rpc_guard", { "http-req" }, function(txn)
    local refused, asked = judge(txn.f:req_body() or "")
    if refused then
        local reply = txn:reply({ status = refused[1] })
        reply:add_header("Content-Type", "application/json")
        reply:add_header("Cache-Control", "no-store")
        reply:set_body(refused[2])
        return txn:done(reply)
    end
    for name, value in pairs(asked) do txn:set_var("txn." .. name, value) end
    txn:set_var("txn.judged", true)  -- set last: without it the request is refused
end, 0)

local Deadline = { id = "rpc_deadline", flags = filter.FLT_CFG_FL_HTX }
Deadline.__index = Deadline

function Deadline:new()
    return setmetatable({}, Deadline)
end

function Deadline:start_analyze(_, channel)
    if not channel:is_resp() then
        self.ends = core.now().sec + LONGEST
        filter.register_data_filter(self, channel)
    end
    return filter.CONTINUE
end

function Deadline:http_payload(_, message)
    if message.channel:is_resp() then return end
    if core.now().sec > self.ends then error("a body was not complete within " .. LONGEST .. " s") end
end

core.register_filter("rpc_deadline", Deadline, function(deadline) return deadline end)

-- Returns the request's body; nil if it is too large.
local function receive(applet)
    local pieces, size = {}, 0
    repeat
        local piece = applet:receive(PIECE)
        size = size + #piece
        if size > largest_body then return nil end
        pieces[#pieces + 1] = piece
    until piece == ""
    return table.concat(pieces)
end

-- HAProxy retries only a request that is still in a buffer. A large request is retried here, unless it must not happen twice.
local UNANSWERED = { [0] = true, [502] = true, [503] = true }

local function ask(applet, body, asked)
    local headers = {
        ["host"] = { "rpc" },
        ["content-type"] = { "application/json" },
        ["x-request-id"] = { applet.headers["x-request-id"][0] },
        ["x-rpc-client"] = { applet.f:src() },
        ["x-rpc-key"] = { key },
    }
    for name, value in pairs(asked) do headers["x-rpc-" .. name] = { tostring(value) } end
    local answer
    for _ = 1, asked.write > 0 and 1 or 4 do
        answer = core.httpclient():post({
            url = "http://rpc/", dst = "abns@rpc-edge-judged", headers = headers, body = body, timeout = node_timeout * 1000,
        })
        if not UNANSWERED[answer.status] then break end
    end
    return answer
end

local PASSED_ON = { "content-type", "cache-control", "retry-after" }

local function respond(applet, status, headers, body)
    applet:set_status(status)
    for _, name in ipairs(PASSED_ON) do
        local found = headers[name]
        if found then applet:add_header(name, found[0] or found) end
    end
    applet:add_header("content-length", #body)
    applet:start_response()
    applet:send(body)
end

core.register_service("rpc_large", "http", function(applet)
    local ours = { ["content-type"] = "application/json", ["cache-control"] = "no-store" }
    local body = receive(applet)
    if not body then return respond(applet, 413, ours, fault("null", -32600, "the request is too large")) end
    local refused, asked = judge(body)
    if refused then return respond(applet, refused[1], ours, refused[2]) end
    -- Fails if there is no memory left for the answer.
    local done, answer = pcall(ask, applet, body, asked)
    if not done or answer.status == 0 then
        return respond(applet, 502, ours, fault(asked.id, -32603, "bad answer from the node"))
    end
    respond(applet, answer.status, answer.headers or {}, answer.body or "")
end)
