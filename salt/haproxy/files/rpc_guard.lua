-- Managed by Salt (salt/haproxy). What haproxy.cfg cannot judge by itself: batches, and single calls that are not plain
-- enough to be sure which method they name. Read strictly: what two readers could understand differently is refused.
--
-- lua-load-per-thread rpc_guard.lua LARGEST_BATCH
-- http-request lua.rpc_guard    sets txn.class (of the dearest call) and txn.read, txn.heavy, txn.write (how many), or answers

local largest_batch = tonumber((...)) or 20
local DEEPEST = 64
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
    for _, word in ipairs({ "true", "false", "null" }) do
        if s:sub(i, i + #word - 1) == word then return i + #word end
    end
    return skip_number(s, i)
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

local function answer(txn, status, body)
    local reply = txn:reply({ status = status })
    reply:add_header("Content-Type", "application/json")
    reply:add_header("Cache-Control", "no-store")
    reply:set_body(body)
    txn:done(reply)
end

core.register_action("rpc_guard", { "http-req" }, function(txn)
    local calls, batch = read_body(txn.f:req_body() or "")
    if not calls then return answer(txn, 400, fault("null", -32700, "this is no JSON")) end
    if #calls == 0 then return answer(txn, 400, fault("null", -32600, "a batch without a call")) end
    if #calls > largest_batch then
        return answer(txn, 413, fault("null", -32600, "a batch has at most " .. largest_batch .. " calls"))
    end
    local count, dearest, status = { read = 0, heavy = 0, write = 0 }, "read", 200
    for _, call in ipairs(calls) do
        local class = call.method and (classes:lookup(call.method) or "read")
        if call.wrong then
            call.code, status = -32600, 400
        elseif class == "forbidden" then
            call.code, call.wrong, status = -32601, "the method " .. call.method .. " is not available", 403
        else
            count[class] = count[class] + 1
            if RANK[class] > RANK[dearest] then dearest = class end
        end
    end
    if status ~= 200 then
        local faults = {}
        for n, call in ipairs(calls) do
            faults[n] = fault(call.id, call.code or -32600, call.wrong or "not carried out: another call of this batch is refused")
        end
        local body = table.concat(faults, ",")
        return answer(txn, status, batch and "[" .. body .. "]" or body)
    end
    txn:set_var("txn.class", dearest)
    for class, number in pairs(count) do txn:set_var("txn." .. class, number) end
end, 0)
