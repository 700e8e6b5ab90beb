#!/bin/sh
# msgpackr 2.1.4, msgpack-lite 0.2.2 and @msgpack/msgpack 3.1.3 (npm): a whole number from 2^32 on may be sent as
# floating point, and whether it is depends on an option about something else.
#
# MessagePack has 64-bit integers, and 4294967303 is a safe integer in JavaScript; an engineer expects it on the wire
# as one (cf or d3). msgpackr and msgpack-lite send float64 (cb). @msgpack/msgpack sends an integer, until it is told
# `useBigInt64: true`, which is chosen to get exact 64-bit integers: then plain numbers from 2^32 on become float64.
# So a receiver in a typed language must take whole floats below 2^53, or ids stop working at 2^32. And a `Packr` of
# msgpackr with its defaults (`useRecords`) sends objects as records: what any other library reads is a whole message
# in which the object is an extension of one byte, and then more messages that nobody sent.
#
# Installs the three from npm into a temporary folder; needs node and npm. Exits with 0 while it is so, 1 when that has
# changed, 77 when it cannot be tried.
set -u
for program in node npm; do
    command -v "$program" >/dev/null || { echo "needs $program"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 77
npm install --silent --no-audit --no-fund --ignore-scripts --omit=optional \
    msgpackr@2.1.4 msgpack-lite@0.2.2 @msgpack/msgpack@3.1.3 >/dev/null 2>&1 || {
    echo "the packages cannot be installed"
    exit 77
}
node - <<'END'
const msgpackr = require('msgpackr');
const lite = require('msgpack-lite');
const msgpack = require('@msgpack/msgpack');
const id = 4294967303;
const hex = bytes => Buffer.from(bytes).toString('hex');
const sent = {
    'msgpackr pack': hex(msgpackr.pack(id)),
    'msgpack-lite encode': hex(lite.encode(id)),
    '@msgpack/msgpack encode': hex(msgpack.encode(id)),
    '@msgpack/msgpack encode, useBigInt64': hex(msgpack.encode(id, { useBigInt64: true })),
};
for (const [who, bytes] of Object.entries(sent))
    console.log(who.padEnd(40), bytes);
const packed = new msgpackr.Packr().pack([0, { user: 7 }]);
const read = [...msgpack.decodeMulti(packed)];
console.log('new Packr().pack([0, {user: 7}])'.padEnd(40), hex(packed), 'is read as', read.length, 'messages');
const float64 = 'cb41f0000000700000', uint64 = 'cf0000000100000007';
const so = sent['msgpackr pack'] === float64 && sent['msgpack-lite encode'] === float64 &&
    sent['@msgpack/msgpack encode'] === uint64 && sent['@msgpack/msgpack encode, useBigInt64'] === float64 &&
    read.length > 1;
process.exit(so ? 0 : 1);
END
