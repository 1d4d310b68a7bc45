// The two wires for bare peers: commands in, messages out, data as JSON values on both.
import protobuf from 'protobufjs';

const SCHEMA = `syntax = "proto3";
  message Command { uint32 id = 1; Connect connect = 4; Subscribe subscribe = 5; Channel unsubscribe = 6; Publish publish = 7;
    Channel presence = 8; Channel presence_stats = 9; History history = 10; Empty ping = 11; Data send = 12; Rpc rpc = 13;
    Token refresh = 14; SubRefresh sub_refresh = 15; }
  message Empty {} message Data { bytes data = 1; } message Token { string token = 1; } message Channel { string channel = 1; }
  message Connect { string token = 1; bytes data = 2; map<string, Subscribe> subs = 3; string name = 4; string version = 5; }
  message Subscribe { string channel = 1; string token = 2; bool recover = 3; string epoch = 6; uint64 offset = 7; bytes data = 8;
    bool positioned = 9; bool recoverable = 10; bool join_leave = 11; string delta = 12; int64 flag = 14; int32 type = 15; }
  message Publish { string channel = 1; bytes data = 2; } message Rpc { bytes data = 1; string method = 2; }
  message Position { uint64 offset = 1; string epoch = 2; } message SubRefresh { string channel = 1; string token = 2; }
  message History { string channel = 1; int32 limit = 7; Position since = 8; bool reverse = 9; }
  message Reply { uint32 id = 1; Error error = 2; Push push = 4; Connected connect = 5; Subscribed subscribe = 6; Empty unsubscribe = 7;
    Empty publish = 8; Presence presence = 9; Stats presence_stats = 10; Page history = 11; Empty ping = 12; Data rpc = 13;
    Expiry refresh = 14; SubExpiry sub_refresh = 15; }
  message Error { uint32 code = 1; string message = 2; bool temporary = 3; }
  message Connected { string client = 1; string version = 2; bool expires = 3; uint32 ttl = 4; bytes data = 5; map<string, Subscribed> subs = 6;
    uint32 ping = 7; bool pong = 8; int64 time = 11; }
  message Subscribed { bool expires = 1; uint32 ttl = 2; bool recoverable = 3; string epoch = 6; repeated Publication publications = 7;
    bool recovered = 8; uint64 offset = 9; bool positioned = 10; bytes data = 11; bool was_recovering = 12; }
  message Publication { bytes data = 4; ClientInfo info = 5; uint64 offset = 6; map<string, string> tags = 7; string epoch = 14; }
  message ClientInfo { string user = 1; string client = 2; bytes conn_info = 3; bytes chan_info = 4; }
  message Presence { map<string, ClientInfo> presence = 1; } message Stats { uint32 num_clients = 1; uint32 num_users = 2; }
  message Page { repeated Publication publications = 1; string epoch = 2; uint64 offset = 3; }
  message Expiry { bool expires = 3; uint32 ttl = 4; } message SubExpiry { bool expires = 1; uint32 ttl = 2; }
  message Push { string channel = 2; Publication pub = 4; Info join = 5; Info leave = 6; Ended unsubscribe = 7; Begun subscribe = 9; }
  message Info { ClientInfo info = 1; } message Ended { uint32 code = 2; string reason = 3; }
  message Begun { bool recoverable = 1; string epoch = 4; uint64 offset = 5; bool positioned = 6; bytes data = 7; }`;
const { root } = protobuf.parse(SCHEMA, { keepCase: true });
const [Command, Reply] = ['Command', 'Reply'].map((name) => root.lookupType(name));

/** Bytes ↔ the JSON that they are, wherever they stand. */
function asValues(message) {
  for (const [name, value] of Object.entries(message))
    if (value instanceof Uint8Array) message[name] = JSON.parse(Buffer.from(value).toString());
    else if (typeof value === 'object') asValues(value);
  return message;
}
function asBytes(message, name = '') {
  if (name === 'data') return Buffer.from(JSON.stringify(message));
  if (typeof message !== 'object' || message === null) return message;
  return Object.fromEntries(Object.entries(message).map(([key, value]) => [key, asBytes(value, key)]));
}

export const wires = {
  json: {
    query: '',
    encode: (commands) => commands.map((command) => JSON.stringify(command)).join('\n'),
    decode: (data) => String(data).split('\n').map((line) => JSON.parse(line)),
  },
  protobuf: {
    query: '?format=protobuf',
    encode: (commands) => Buffer.concat(commands.map((command) => Command.encodeDelimited(Command.fromObject(asBytes(command))).finish())),
    decode(data) {
      const messages = [], reader = protobuf.Reader.create(data);
      while (reader.pos < reader.len) messages.push(asValues(Reply.toObject(Reply.decodeDelimited(reader), { longs: Number })));
      return messages;
    },
  },
};
