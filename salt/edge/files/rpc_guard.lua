-- Managed by Salt (salt/edge). What edge.cfg cannot judge by itself: batches, calls that are not plain enough to be sure
-- which method they name, and bodies that do not fit into a buffer. Read strictly: what two readers could understand
-- differently is refused.
--
-- lua-load-per-thread rpc_guard.lua LARGEST_BATCH LARGEST_BODY PATIENCE
--     calls of a batch; bytes of a body; seconds that a node may take for its answer
-- http-request lua.rpc_guard
--     judges a request that is whole in the buffer: sets txn.class (of the dearest call), txn.read, txn.heavy, txn.write (how
--     many there are of each), txn.id (JSON, as the answer has to bear it), txn.judged, or answers with an error. HAProxy
--     ignores an action that fails, so edge.cfg refuses what has no txn.judged.
-- http-request use-service lua.rpc_large
--     reads a request of any size, judges it, and asks the frontend rpc_judged
-- filter lua.rpc_deadline
--     ends a request whose body has not come as a whole within LONGEST seconds: receive() waits for as many bytes as it is
--     asked for, and HAProxy's own times are those between two pieces

local largest_batch, largest_body, patience = ...
largest_batch, largest_body, patience = tonumber(largest_batch), tonumber(largest_body), tonumber(patience)
local LONGEST = 30
local DEEPEST = 64
local MOST = 10000  -- elements of all lists of a body: each costs what some hundred bytes of text cost
local left = MOST
-- What receive() is asked for at once, of which it gives less (it counts headers, too). A buffer has 16 KiB, and a text of just
-- so much takes Lua 20.
local PIECE = 16000
-- What says that a judged request is ours: anybody on this host reaches an abstract socket.
local file = assert(io.open("/etc/haproxy/rpc-judged.key"))
local key = assert(file:read("l"), "/etc/haproxy/rpc-judged.key is empty")
file:close()
local classes = Map.new("/etc/haproxy/rpc-classes.map", Map._beg)
local RANK = { read = 1, heavy = 2, write = 3 }

local function skip_space(s, i)
    return s:find("[^ \t\r\n]", i) or #s + 1
end

-- Returns the index behind the string that begins at i, and whether it has no escapes; nil where it is none.
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

-- Returns the index behind the list of members or elements that begins at i; each(from, to) is shown every one.
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

-- Returns (index behind the call, {method, id, wrong}); nil where it is no JSON.
local function read_call(s, i)
    local call, seen = { id = "null" }, {}
    if s:byte(i) ~= 123 then
        call.wrong = "a call is an object"
        return skip_value(s, i, 1), call
    end
    local ending = skip_list(s, i, 1, 125, function(j, depth)
        local after, plain = skip_string(s, j)
        if not after then return nil end
        local key = s:sub(j + 1, after - 2)
        -- Some nodes take the first of two, some the last, some do not tell METHOD from method.
        if not plain or seen[key:lower()] then call.wrong = "a key is there twice, or written with escapes" end
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
    if ending and not call.wrong and not call.method then call.wrong = "no method is named" end
    return ending, call
end

-- Returns the calls of a body and whether they are a batch; nil and why where it cannot be read.
local function read_body(s)
    local i, calls = skip_space(s, 1), {}
    left = MOST
    local function one(j)
        local ending, call = read_call(s, j)
        calls[#calls + 1] = call
        return ending
    end
    local batch = s:byte(i) == 91
    local ending
    if batch then ending = skip_list(s, i, 1, 93, one) else ending = one(i) end
    if not ending or skip_space(s, ending) <= #s or not utf8.len(s) then return nil end
    return calls, batch
end

local function fault(id, code, message)
    return '{"jsonrpc":"2.0","id":' .. id .. ',"error":{"code":' .. code .. ',"message":"' .. message .. '"}}'
end

-- Returns what is to be answered, {status, body}, or nil and what the body asks for: {class, id, read, heavy, write}.
local function judge(body)
    local calls, batch = read_body(body)
    if left < 0 then return { 413, fault("null", -32600, "a body has at most " .. MOST .. " elements") } end
    if not calls then return { 400, fault("null", -32700, "this is no JSON") } end
    if #calls == 0 then return { 400, fault("null", -32600, "a batch without a call") } end
    if #calls > largest_batch then
        return { 413, fault("null", -32600, "a batch has at most " .. largest_batch .. " calls") }
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
        faults[n] = fault(call.id, call.code or -32600, call.wrong or "not carried out: another call of this batch is refused")
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
    txn:set_var("txn.judged", true)  -- the last thing: without it the request goes no further
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
    if core.now().sec > self.ends then error("a body did not come within " .. LONGEST .. " s") end
end

core.register_filter("rpc_deadline", Deadline, function(deadline) return deadline end)

-- Returns the request's body; nil where it is too large.
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

-- HAProxy asks again elsewhere only what it still has in a buffer. A large one is asked again here, unless it must not happen twice.
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
            url = "http://rpc/", dst = "abns@rpc-edge-judged", headers = headers, body = body, timeout = patience * 1000,
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
    -- It fails where there is no memory left for the answer.
    local held, answer = pcall(ask, applet, body, asked)
    if not held or answer.status == 0 then
        return respond(applet, 502, ours, fault(asked.id, -32603, "bad answer from the node"))
    end
    respond(applet, answer.status, answer.headers or {}, answer.body or "")
end)
