// Reads raw frames from standard input with @vladmandic/human, for clip_speed.py.
//
//     node benchmarks/clip_peer.mjs FOLDER WIDTHxHEIGHT < frames
//
// FOLDER holds node_modules. Detector, mesh with pose, emotion, age and gender answer for every frame, as Q-Face does;
// what else the package offers is off, and so is its reuse of earlier answers. The last line printed is JSON.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = `${resolve(process.argv[2])}/node_modules`;
const [width, height] = process.argv[3].split('x').map(Number);

// Node's fetch refuses file addresses, and the package fetches its models.
const fetchPage = globalThis.fetch;
const KINDS = { json: 'application/json', wasm: 'application/wasm' };
globalThis.fetch = async (request, ...rest) => {
  const address = String(request?.url ?? request);
  if (!address.startsWith('file:')) return fetchPage(request, ...rest);
  const kind = KINDS[address.split('.').pop()] ?? 'application/octet-stream';
  return new Response(await readFile(fileURLToPath(address)), { headers: { 'content-type': kind } });
};

const { Human } = createRequire(import.meta.url)(`${modules}/@vladmandic/human/dist/human.node-wasm.js`);
const off = { enabled: false };
const everyFrame = { enabled: true, skipFrames: 0, skipTime: 0 };
const human = new Human({
  backend: 'wasm',
  wasmPath: `file://${modules}/@tensorflow/tfjs-backend-wasm/dist/`,
  wasmPlatformFetch: true,
  modelBasePath: `file://${modules}/@vladmandic/human/models/`,
  async: false,
  cacheSensitivity: 0,
  filter: off,
  face: {
    enabled: true,
    detector: { ...everyFrame, rotation: true, maxDetected: 1 },
    mesh: { enabled: true },
    emotion: everyFrame,
    description: everyFrame,
    iris: off,
    antispoof: off,
    liveness: off,
  },
  body: off,
  hand: off,
  object: off,
  gesture: off,
  segmentation: off,
});
await human.load();

const size = width * height * 3;
const frame = Buffer.alloc(size);
let filled = 0;
let frames = 0;
let found = 0;
let start;
for await (const chunk of process.stdin) {
  for (let at = 0; at < chunk.length;) {
    const taken = chunk.copy(frame, filled, at);
    at += taken;
    filled = (filled + taken) % size;
    if (filled) continue;
    start ??= performance.now();
    const picture = human.tf.tensor(frame, [1, height, width, 3], 'int32');
    const { face } = await human.detect(picture);
    human.tf.dispose(picture);
    frames += 1;
    found += face.length > 0;
  }
}
const { userCPUTime, systemCPUTime } = process.resourceUsage();
console.log(JSON.stringify({
  version: human.version,
  threads: human.env.wasm.multithread ? 'several' : 1,
  frames,
  found,
  seconds: (performance.now() - start) / 1000,
  cpu: (userCPUTime + systemCPUTime) / 1e6,
  memory: process.memoryUsage().rss / 2 ** 20, // the most would count the process that started this one
}));
