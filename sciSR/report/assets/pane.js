"use strict";

/* ---- one pane: a plane of the field, the input left of the divider, something else right of it ---- */

class Pane {
  constructor(page, root, plane) {
    this.page = page;
    this.root = root;
    root.pane = this;
    this.plane = plane;
    this.about = page.source.planes[plane];
    this.slice = this.about.start.slice;
    this.cache = new Map();
    this.view = null; // left, top in input pixels; zoom: screen pixels per unit of length of `pixel`
    this.build();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.stage);
  }

  /* All that is to be seen has come and is drawn. */
  get isReady() {
    return Boolean(this.isPainted) && !this.pending && [...this.cache.values()].every((entry) => entry.state !== "asked");
  }

  get length() { return this.about.pixel; }

  build() {
    const { about } = this;
    this.canvas = el("canvas", {
      tabindex: 0, role: "img",
      "aria-label": `${about.name}: input left of the divider, result right of it. Plus and minus zoom, arrow keys move.`,
    });
    this.handle = el("div", {
      class: "handle", role: "slider", tabindex: 0, "aria-label": `Divider between input and result, ${about.name}`,
      "aria-orientation": "horizontal", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 50,
    }, el("span", { class: "grip", "aria-hidden": "true" }));
    this.left = el("span", { class: "badge left" });
    this.right = el("span", { class: "badge right" });
    this.info = el("span", { class: "badge info" });
    this.stage = el("div", { class: "stage" }, this.canvas, this.handle, this.left, this.right, this.info);
    if (about.sides) {
      const [[l, r], [t, b]] = about.sides;
      for (const [side, text] of [["l", l], ["r", r], ["t", t], ["b", b]])
        this.stage.append(el("span", { class: `side ${side}`, "aria-hidden": "true" }, text));
    }
    const button = (label, text, act) => {
      const node = el("button", { type: "button", title: label, "aria-label": label }, text);
      node.addEventListener("click", () => this.free(act));
      return node;
    };
    const [, , columns, rows] = about.start.region, isWhole = columns >= about.width && rows >= about.height;
    this.whole = button("Show the whole field", "Whole", () => this.showWhole());
    this.tools = el("div", { class: "tools", role: "group", "aria-label": `View of ${about.name}` },
      button("Zoom out", "−", () => this.zoomBy(1 / 1.5)), button("Zoom in", "+", () => this.zoomBy(1.5)),
      button("One input pixel as a whole number of screen pixels", "1:1", () => this.showNative()),
      button(isWhole ? "Show all" : "Show the part with native pixels", isWhole ? "Fit" : "Detail", () => this.showStart()));
    if (!isWhole) this.tools.append(this.whole);
    this.readout = el("output", { class: "readout", "aria-live": "off" });
    this.root.append(this.stage, el("div", { class: "bar" }, this.tools, this.readout));
    if (about.slices > 1) this.root.append(this.sliceControl());
  }

  sliceControl() {
    const id = `slice-${this.plane}`;
    this.slider = el("input", { type: "range", id, min: 0, max: this.about.slices - 1, step: 1, value: this.slice });
    this.number = el("output", { for: id });
    this.slider.addEventListener("input", () => this.page.moveTo(this.about.axis, Number(this.slider.value)));
    const name = this.about.name.replace(/^./, (c) => c.toUpperCase());
    return el("div", { class: "slices" }, el("label", { for: id }, `${name} slice`), this.slider, this.number);
  }

  /* -- geometry -- */

  get box() { return [this.stage.clientWidth, this.stage.clientHeight]; }
  fitZoom([, , width, height]) {
    const [w, h] = this.box;
    return Math.min(w / (width * this.length[0]), h / (height * this.length[1]));
  }
  show(region, zoom) {
    const [x, y, width, height] = region, [w, h] = this.box;
    zoom = zoom || this.fitZoom(region);
    this.view = {
      zoom,
      left: x + width / 2 - w / (2 * zoom * this.length[0]),
      top: y + height / 2 - h / (2 * zoom * this.length[1]),
    };
    this.draw();
  }
  showWhole() { this.show([0, 0, this.about.width, this.about.height]); }
  showStart() { this.show(this.about.start.region); }
  /* At first whole screen pixels for each of the finest ones, where that differs little from what fits. */
  showFirst() {
    const { region } = this.about.start, fit = this.fitZoom(region), ratio = window.devicePixelRatio || 1;
    const unit = Math.max(...this.about.factor) / (ratio * this.length[0]);
    const zoom = unit * Math.max(1, Math.floor(fit / unit));
    this.show(region, zoom > 0.75 * fit && zoom < fit / 0.75 ? zoom : fit);
  }
  showNative() {
    const region = this.about.start.region, fit = this.fitZoom(region) * this.length[0];
    const ratio = window.devicePixelRatio || 1, fine = Math.max(...this.about.factor);
    const whole = Math.max(fine, Math.round((fit * ratio) / fine) * fine);
    this.show(region, whole / ratio / this.length[0]);
  }
  get isFitted() {
    const least = this.fitZoom([0, 0, this.about.width, this.about.height]);
    return !this.view || this.view.zoom <= Math.max(least, this.fitZoom(this.about.start.region)) * 1.35;
  }
  toField(x, y) {
    const { left, top, zoom } = this.view;
    return [left + x / (zoom * this.length[0]), top + y / (zoom * this.length[1])];
  }
  toScreen(x, y) {
    const { left, top, zoom } = this.view;
    return [(x - left) * zoom * this.length[0], (y - top) * zoom * this.length[1]];
  }
  zoomBy(factor, x, y) {
    const [w, h] = this.box;
    x = x === undefined ? w / 2 : x;
    y = y === undefined ? h / 2 : y;
    const [fx, fy] = this.toField(x, y), whole = this.fitZoom([0, 0, this.about.width, this.about.height]);
    const zoom = clamp(this.view.zoom * factor, whole / 2, 64 / Math.min(...this.length));
    this.view = { zoom, left: fx - x / (zoom * this.length[0]), top: fy - y / (zoom * this.length[1]) };
    this.draw();
  }
  panBy(x, y) {
    this.view.left -= x / (this.view.zoom * this.length[0]);
    this.view.top -= y / (this.view.zoom * this.length[1]);
    this.view.left = clamp(this.view.left, -this.box[0] / (this.view.zoom * this.length[0]) + 1, this.about.width - 1);
    this.view.top = clamp(this.view.top, -this.box[1] / (this.view.zoom * this.length[1]) + 1, this.about.height - 1);
    this.draw();
  }
  resize() {
    const [w, h] = this.box, ratio = window.devicePixelRatio || 1;
    if (!w || !h) return;
    const before = this.size;
    this.canvas.width = Math.round(w * ratio);
    this.canvas.height = Math.round(h * ratio);
    this.size = [w, h];
    if (!this.view || this.isFresh) {
      this.showFirst();
      this.isFresh = true;
    } else {
      const [cx, cy] = [before[0] / 2, before[1] / 2], { zoom } = this.view;
      this.view.left += (cx - w / 2) / (zoom * this.length[0]);
      this.view.top += (cy - h / 2) / (zoom * this.length[1]);
      this.draw();
    }
  }

  /* -- pixels -- */

  /* Pictures of a layer that cover the view, coarse first: those at hand now; others are fetched and drawn later. */
  picturesOf(layer) {
    const found = [], wanted = this.levelFor(layer);
    this.about.levels.forEach((level, number) => {
      const extent = level[layer];
      if (!extent || number > wanted) return;
      for (const part of this.tilesOf(extent)) {
        const picture = this.pictureOf(layer, number, extent, part);
        if (picture) found.push(picture);
      }
    });
    return found;
  }

  /* The coarsest level that still has a pixel for each pixel of the screen; the finest if none has. */
  levelFor(layer) {
    const { levels } = this.about, ratio = window.devicePixelRatio || 1;
    if (!this.page.source.tile) return levels.length - 1;
    const screen = 1 / (this.view.zoom * this.length[0] * ratio);
    const fit = levels.findIndex((level) => level[layer] && level[layer].step[0] <= screen);
    return fit < 0 ? levels.length - 1 : fit;
  }

  tilesOf(extent) {
    const { tile } = this.page.source;
    if (!tile) return [{ x: 0, y: 0, width: extent.width, height: extent.height }];
    const [w, h] = this.box, [x0, y0] = this.toField(0, 0), [x1, y1] = this.toField(w, h), parts = [];
    const first = (v, start, step) => Math.max(0, Math.floor((v - start) / step / tile));
    const last = (v, start, step, size) => Math.min(Math.ceil(size / tile), Math.ceil((v - start) / step / tile));
    for (let j = first(y0, extent.y, extent.step[1]); j < last(y1, extent.y, extent.step[1], extent.height); j++)
      for (let i = first(x0, extent.x, extent.step[0]); i < last(x1, extent.x, extent.step[0], extent.width); i++)
        parts.push({
          x: i * tile, y: j * tile,
          width: Math.min(tile, extent.width - i * tile), height: Math.min(tile, extent.height - j * tile),
        });
    return parts;
  }

  pictureOf(layer, level, extent, part) {
    const slice = this.slice, key = [layer, level, slice, part.x, part.y].join();
    let entry = this.cache.get(key);
    if (!entry) {
      entry = { state: "asked", extent, part, layer, level };
      this.cache.set(key, entry);
      if (this.cache.size > 400) this.cache.delete(this.cache.keys().next().value);
      const want = { plane: this.plane, level, slice, ...part };
      entry.wait = this.page.source.read(layer, want).then((channels) => {
        entry.channels = channels;
        entry.state = channels ? "here" : "none";
        this.draw();
      }, () => { entry.state = "none"; });
    }
    if (entry.state !== "here") return null;
    const version = this.page.versions[layer];
    if (entry.version !== version) {
      this.colour(entry);
      entry.version = version;
    }
    return entry;
  }

  colour(entry) {
    const { part, channels } = entry, table = this.page.tables[entry.layer], size = part.width * part.height;
    entry.canvas = entry.canvas || el("canvas", { width: part.width, height: part.height });
    const context = entry.canvas.getContext("2d"), image = context.createImageData(part.width, part.height);
    const out = image.data, last = channels.length === 3 ? 2 : 0;
    const [red, green, blue] = [channels[0], channels[last / 2], channels[last]];
    for (let k = 0; k < size; k++) {
      const at = 4 * k;
      out[at] = table[3 * red[k]];
      out[at + 1] = table[3 * green[k] + 1];
      out[at + 2] = table[3 * blue[k] + 2];
      out[at + 3] = red[k] && green[k] && blue[k] ? 255 : 0;
    }
    context.putImageData(image, 0, 0);
  }

  /* -- drawing -- */

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.paint();
    });
  }

  paint() {
    if (!this.view || !this.canvas.width) return;
    const ratio = window.devicePixelRatio || 1, context = this.canvas.getContext("2d"), { page } = this;
    const [w, h] = this.box, at = page.divider * w;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    const { left, right } = page;
    const levels = [this.paintLayer(context, left, 0, at), this.paintLayer(context, right, at, w)];
    this.paintFrame(context);
    this.paintFeatures(context, at);
    if (page.isLinked) this.paintCross(context);
    this.handle.hidden = !left;
    this.handle.style.left = `${100 * page.divider}%`;
    const now = Math.round(100 * page.divider);
    this.handle.setAttribute("aria-valuenow", now);
    const name = (layer) => (layer ? page.source.layers[layer].label : "nothing");
    this.handle.setAttribute("aria-valuetext", `${now} % ${name(left)}, ${100 - now} % ${name(right)}`);
    this.left.textContent = name(left);
    this.right.textContent = name(right);
    this.left.hidden = page.divider < 0.02 || !left;
    this.right.hidden = page.divider > 0.98;
    this.canvas.style.touchAction = this.handle.style.touchAction = this.isFitted ? "pan-y" : "none";
    const isReduced = Math.max(...levels) < this.about.levels.length - 1;
    this.info.textContent = isReduced ? "reduced" : "";
    this.info.hidden = !isReduced;
    if (this.slider) {
      this.slider.value = this.slice;
      this.number.textContent = `${this.slice + 1} / ${this.about.slices}`;
    }
    this.isPainted = true;
  }

  /* Returns the finest level that was at hand. */
  paintLayer(context, layer, from, to) {
    if (!layer || to <= from) return -1;
    const h = this.box[1], pictures = this.picturesOf(layer);
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, h);
    context.clip();
    const [fx, fy] = this.toScreen(0, 0), [gx, gy] = this.toScreen(this.about.width, this.about.height);
    context.beginPath();
    context.rect(fx, fy, gx - fx, gy - fy); // the last pixels of a reduced picture may reach beyond the field
    context.clip();
    for (const { canvas, extent, part } of pictures) {
      const [x0, y0] = this.toScreen(extent.x + part.x * extent.step[0], extent.y + part.y * extent.step[1]);
      const [x1, y1] = this.toScreen(
        extent.x + (part.x + part.width) * extent.step[0], extent.y + (part.y + part.height) * extent.step[1]);
      const ratio = window.devicePixelRatio || 1, perPixel = ((x1 - x0) * ratio) / part.width;
      context.imageSmoothingEnabled = perPixel < 1; // native pixels stay sharp squares
      context.imageSmoothingQuality = "high";
      context.drawImage(canvas, x0, y0, x1 - x0, y1 - y0);
    }
    context.restore();
    return Math.max(-1, ...pictures.map((picture) => picture.level));
  }

  /* The part of the field with native pixels, where more is shown. */
  paintFrame(context) {
    const [x, y, width, height] = this.about.start.region;
    if ((width === this.about.width && height === this.about.height) || this.about.levels.length < 2) return;
    const [x0, y0] = this.toScreen(x, y), [x1, y1] = this.toScreen(x + width, y + height);
    context.strokeStyle = "rgba(255, 255, 255, .55)";
    context.setLineDash([4, 4]);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    context.setLineDash([]);
  }

  paintFeatures(context, from) {
    const { page } = this;
    if (!page.showFeatures || !page.features.length) return;
    const [w, h] = this.box;
    context.save();
    context.beginPath();
    context.rect(from, 0, w - from, h);
    context.clip();
    for (const feature of page.features) {
      const place = { z: [feature.x, feature.y], y: [feature.x, feature.z], x: [feature.y, feature.z] }[this.about.axis];
      const depth = feature[this.about.axis] * this.about.sliceFactor;
      if (this.about.slices > 1 && Math.abs(depth - this.slice - 0.5) > Math.max(1, this.about.sliceFactor)) continue;
      const [x, y] = this.toScreen(...place);
      const radius = Math.max(8, 1.6 * this.view.zoom * this.length[0]);
      for (const [colour, width] of [["rgba(0, 0, 0, .75)", 4], ["#ff9d2e", 2]]) {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.stroke();
      }
    }
    context.restore();
  }

  paintCross(context) {
    const { cross } = this.page;
    const [px, py] = { z: [cross.x, cross.y], y: [cross.x, cross.z], x: [cross.y, cross.z] }[this.about.axis];
    const [x, y] = this.toScreen(px, py), [w, h] = this.box;
    context.lineWidth = 1;
    context.strokeStyle = "rgba(255, 190, 90, .6)";
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, y - 8);
    context.moveTo(x, y + 8);
    context.lineTo(x, h);
    context.moveTo(0, y);
    context.lineTo(x - 8, y);
    context.moveTo(x + 8, y);
    context.lineTo(w, y);
    context.stroke();
  }
}
