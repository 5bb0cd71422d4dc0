/* The viewer of a report: before and after on one field, with a divider.
 *
 * It asks a `source` for pixels and knows nothing of where they come from. A page that embeds its pixels has
 * `embeddedSource(document)` below; a server of tiles needs an object of the same shape:
 *
 *   source = {
 *     layers: { before: LAYER, after: LAYER, std: ..., residual: ..., error: ... }    those that there are
 *     planes: [ PLANE ],            one for an image or a stack, three for a volume (slices along z, y, x)
 *     tile: 0,                      side of the regions that are asked for, in pixels of the layer; 0: all at once
 *     read(layer, {plane, level, slice, x, y, width, height}) -> Promise of [Uint16Array, ...] or null
 *   }
 *
 *   read     `layer` is a name; `plane` and `level` are positions in the lists; `slice` counts the output's slices; the
 *            region is in pixels of the layer at that level. One array of codes for each channel (1, or 3 for colour),
 *            row by row; null where there are no pixels of this slice at this level (a coarser level is shown).
 *   LAYER    { label, unit, map: "grey" | "sequential" | "diverging",
 *              coding: { kind: "linear" | "asinh", low, step, codes, zero, softening },
 *              shown: { curve, black, white, zero, softening, presets: [{name, curve, black, white}],
 *                       range: [low, high] values that the sliders reach, where the coding holds more } }
 *            A code c > 0 stands for low + (c - 1) step, or zero + softening sinh(low + (c - 1) step); 0 is no value.
 *            before and after have the same coding and are shown with the same stretch.
 *   PLANE    { name, axis: "z" | "y" | "x", sides: [["R", "L"], ["A", "P"]] or null,
 *              width, height: the field in the input's pixels,     factor: [x, y] output pixels per input pixel,
 *              pixel: [x, y] lengths of an input pixel (any unit), slices: of the output,  sliceFactor: per input slice,
 *              start: { slice, region: [x, y, width, height] },
 *              levels: [ { layer name: {x, y, width, height, step: [x, y]} } ],  coarsest first }
 *            A layer at a level has width x height pixels; the first begins at (x, y), and each is `step` input pixels
 *            long. Positions are in the input's pixels from the field's top left corner; pixel 0 spans 0 to 1.
 *
 * Every element with class "pane" and data-plane="0" becomes a pane; `new Page(source, features)` sets them up.
 * Features: [{ x, y, z, support, supported }], in input pixels.
 */
"use strict";

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children);
  return node;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function shortNumber(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/* ---- codes and colours ---- */

function valueOf(code, coding) {
  const scaled = coding.low + (code - 1) * coding.step;
  return coding.kind === "asinh" ? coding.zero + coding.softening * Math.sinh(scaled) : scaled;
}

function codeOf(value, coding) {
  const scaled = coding.kind === "asinh" ? Math.asinh((value - coding.zero) / coding.softening) : value;
  return clamp((scaled - coding.low) / coding.step + 1, 1, coding.codes);
}

/* Control points at equal distances: viridis (matplotlib, CC0), and blue - pale - red for signed errors. */
const COLOURS = {
  grey: ["000000", "ffffff"],
  sequential: ["440154", "482878", "3e4a89", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"],
  diverging: ["0b3c6f", "2f79b5", "8fc0de", "f4f4f2", "f0a582", "c9443f", "730f1f"],
};

function colourAt(name, t) {
  const points = COLOURS[name];
  const place = clamp(t, 0, 1) * (points.length - 1);
  const k = Math.min(Math.floor(place), points.length - 2);
  const part = (text, at) => parseInt(text.slice(at, at + 2), 16);
  return [0, 2, 4].map((at) => part(points[k], at) + (place - k) * (part(points[k + 1], at) - part(points[k], at)));
}

function curveOf(stretch) {
  const span = stretch.white - stretch.black;
  if (stretch.curve === "asinh") {
    const steep = span / stretch.softening, top = Math.asinh(steep);
    return (value) => Math.asinh(Math.max((value - stretch.black) / span, 0) * steep) / top;
  }
  if (stretch.curve === "sqrt") return (value) => Math.sqrt(Math.max((value - stretch.black) / span, 0));
  return (value) => (value - stretch.black) / span;
}

/* One colour for each code, as R, G, B; code 0 is transparent. */
function tableOf(layer, stretch) {
  const { coding, map } = layer, table = new Uint8ClampedArray(3 * (coding.codes + 1)), curve = curveOf(stretch);
  const shades = coding.codes > 8192 ? Array.from({ length: 4097 }, (_, k) => colourAt(map, k / 4096)) : null; // 65535 take long
  for (let code = 1; code <= coding.codes; code++) {
    const t = curve(valueOf(code, coding)), place = stretch.inverted ? 1 - t : t;
    table.set(shades ? shades[Math.round(4096 * clamp(place, 0, 1))] : colourAt(map, place), 3 * code);
  }
  return table;
}

/* ---- pixels that are inside the page ---- */

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* Differences along rows, low bytes of all, then the high bytes where there are codes above 255. */
async function unpack(text, width, size) {
  const raw = await inflate(text), codes = new Uint16Array(size), isWide = raw.length > size;
  for (let start = 0; start < size; start += width) {
    let sum = 0;
    for (let k = start; k < start + width; k++) {
      sum = isWide ? (sum + raw[k] + 256 * raw[size + k]) & 65535 : (sum + raw[k]) & 255;
      codes[k] = sum;
    }
  }
  return codes;
}

function embeddedSource(page) {
  const blocks = new Map(), volumes = new Map(), ready = new Map();
  for (const block of page.blocks) blocks.set([block.layer, block.plane, block.level, block.slice].join(), block);
  for (const volume of page.volumes) volumes.set(volume.layer, volume);
  const once = (key, make) => {
    if (!ready.has(key)) ready.set(key, make());
    return ready.get(key);
  };
  const cut = (codes, width, part) => {
    if (part.x === 0 && part.y === 0 && part.width * part.height === codes.length) return codes;
    const out = new Uint16Array(part.width * part.height);
    for (let row = 0; row < part.height; row++) {
      const from = (part.y + row) * width + part.x;
      out.set(codes.subarray(from, from + part.width), row * part.width);
    }
    return out;
  };
  /* A plane of a reduced volume [z][y][x]; its slices are counted in the output's. */
  const section = (codes, volume, plane, slice) => {
    const [nz, ny, nx] = volume.shape, axis = page.planes[plane].axis;
    const count = { z: nz, y: ny, x: nx }[axis];
    const k = clamp(Math.floor((slice + 0.5) / page.planes[plane].sliceFactor / volume.step[axis]), 0, count - 1);
    if (axis === "z") return codes.subarray(k * ny * nx, (k + 1) * ny * nx);
    const wide = axis === "y" ? nx : ny, out = new Uint16Array(nz * wide);
    for (let z = 0; z < nz; z++)
      for (let i = 0; i < wide; i++) out[z * wide + i] = codes[z * ny * nx + (axis === "y" ? k * nx + i : i * nx + k)];
    return out;
  };
  return {
    layers: page.layers,
    planes: page.planes,
    tile: 0,
    async read(layer, want) {
      const extent = page.planes[want.plane].levels[want.level][layer];
      if (!extent) return null;
      const block = blocks.get([layer, want.plane, want.level, want.slice].join());
      if (block) {
        const size = extent.width * extent.height;
        const channels = await once(block, () => Promise.all(block.data.map((d) => unpack(d, extent.width, size))));
        return channels.map((codes) => cut(codes, extent.width, want));
      }
      const volume = volumes.get(layer);
      if (!volume || !extent.reduced) return null;
      const [nz, ny, nx] = volume.shape;
      const codes = await once(volume, () => unpack(volume.data, nx, nz * ny * nx));
      return [cut(section(codes, volume, want.plane, want.slice), extent.width, want)];
    },
  };
}
