// Makes a picture of a page a third as large: 256 colours are enough for text, lines and flat surfaces.
// In: a PNG of 8 bits a channel, as a browser takes it. Out: a PNG with a palette. Not here: photographs, transparency, other depths.
import { deflateSync, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const COLOURS_MAX = 256;
/** Colours that agree in these upper bits of each channel count as one while the palette is chosen. */
const SAME_BITS = 5;
const DEEP = 8;
const TRUECOLOUR = 2;
const PALETTE = 3;
const TRUECOLOUR_ALPHA = 6;

/** @param {Buffer} png @returns {Buffer} */
export function withPalette(png) {
  const { width, height, channels, lines } = decode(png);
  const palette = chooseColours(lines, channels);
  const nearest = new Map();
  const rows = Buffer.alloc(height * (width + 1));
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const key = lines.readUIntBE(pixel * channels, 3);
    if (!nearest.has(key)) nearest.set(key, nearestOf(palette, key));
    // Each row begins with its filter, which is none.
    rows[Math.floor(pixel / width) * (width + 1) + 1 + (pixel % width)] = nearest.get(key);
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([DEEP, PALETTE], 8);
  const chunks = [chunk("IHDR", head), chunk("PLTE", Buffer.from(palette.flat())), chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([SIGNATURE, ...chunks]);
}

/** The pixels of a picture, row by row, without filters. @param {Buffer} png */
function decode(png) {
  const data = [];
  let head = Buffer.alloc(13);
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const [name, body] = [png.toString("latin1", at + 4, at + 8), png.subarray(at + 8, at + 8 + length)];
    if (name === "IHDR") head = body;
    if (name === "IDAT") data.push(body);
    at += length + 12;
  }
  const channels = { [TRUECOLOUR]: 3, [TRUECOLOUR_ALPHA]: 4 }[head[9]];
  if (!channels || head[8] !== DEEP || head[12] !== 0) throw new Error(`a PNG of 8 bits a channel without interlacing is expected, found type ${head[9]}, depth ${head[8]}`);
  const [width, height] = [head.readUInt32BE(0), head.readUInt32BE(4)];
  return { width, height, channels, lines: unfiltered(inflateSync(Buffer.concat(data)), width * channels, height, channels) };
}

/** Undoes the filters of PNG (section 9.2 of its specification). @param {Buffer} raw */
function unfiltered(raw, stride, height, channels) {
  const lines = Buffer.alloc(stride * height);
  for (let row = 0; row < height; row += 1) {
    const filter = raw[row * (stride + 1)];
    for (let column = 0; column < stride; column += 1) {
      const to = row * stride + column;
      const left = column >= channels ? lines[to - channels] : 0;
      const up = row > 0 ? lines[to - stride] : 0;
      const corner = row > 0 && column >= channels ? lines[to - stride - channels] : 0;
      lines[to] = raw[row * (stride + 1) + 1 + column] + [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
    }
  }
  return lines;
}

function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

/** One colour after the other: the one that is frequent and unlike all that were chosen before, so that small things keep their own. */
function chooseColours(lines, channels) {
  const counts = new Map();
  for (let at = 0; at < lines.length; at += channels) {
    const key = lines.readUIntBE(at, 3);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const left = grouped(counts).map(({ key, count }) => ({ colour: parts(key), count, apart: Infinity }));
  const palette = [];
  for (let score = Infinity; score > 0 && palette.length < COLOURS_MAX; ) {
    const next = left.reduce((best, each) => (each.count * each.apart > best.count * best.apart ? each : best));
    score = next.apart;
    palette.push(next.colour);
    for (const each of left) each.apart = Math.min(each.apart, distance(each.colour, next.colour));
  }
  return palette;
}

/** Colours that are nearly alike as one: the most frequent of them, with the count of all. The most frequent comes first. */
function grouped(counts) {
  const shift = 8 - SAME_BITS;
  const groups = new Map();
  for (const [key, count] of [...counts].sort((a, b) => b[1] - a[1])) {
    const [red, green, blue] = parts(key);
    const group = ((red >> shift) << (2 * SAME_BITS)) | ((green >> shift) << SAME_BITS) | (blue >> shift);
    const known = groups.get(group);
    if (known) known.count += count;
    else groups.set(group, { key, count });
  }
  return [...groups.values()];
}

const distance = ([r, g, b], [red, green, blue]) => (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2;

const parts = (key) => [key >> 16, (key >> 8) & 255, key & 255];

function nearestOf(palette, key) {
  const colour = parts(key);
  const apart = palette.map((each) => distance(each, colour));
  return apart.indexOf(Math.min(...apart));
}

function chunk(name, body) {
  const named = Buffer.concat([Buffer.from(name, "latin1"), body]);
  const whole = Buffer.alloc(named.length + 8);
  whole.writeUInt32BE(body.length, 0);
  named.copy(whole, 4);
  whole.writeUInt32BE(crc32(named), named.length + 4);
  return whole;
}

/** As PNG wants it (section D of its specification). @param {Buffer} bytes */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
