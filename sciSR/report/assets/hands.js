/* Mouse, touch and keyboard on a pane, and the values under the pointer. */
"use strict";

class HeldPane extends Pane {
  listen() {
    const pointers = new Map();
    let mode = null, spread = 0, moved = false;
    const place = (event) => {
      const box = this.stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const near = (x) => this.page.left !== null && Math.abs(x - this.page.divider * this.box[0]) < 22;
    const down = (event) => {
      if (event.button) return;
      const [x] = place(event);
      pointers.set(event.pointerId, place(event));
      this.stage.setPointerCapture(event.pointerId);
      moved = false;
      if (pointers.size === 2) mode = "pinch";
      else mode = near(x) || event.target === this.handle || (this.page.left && this.isFitted && !this.page.isLinked) ? "divide" : this.isFitted && this.page.isLinked ? "point" : "pan";
      spread = 0;
      if (mode === "divide") {
        this.handle.focus({ preventScroll: true });
        this.page.setDivider(x / this.box[0]);
      } else if (mode === "point") this.point(...place(event));
    };
    const move = (event) => {
      const [x, y] = place(event), old = pointers.get(event.pointerId);
      this.tell(x, y);
      if (!old) return;
      pointers.set(event.pointerId, [x, y]);
      moved = moved || Math.hypot(x - old[0], y - old[1]) > 2;
      if (mode === "divide") this.page.setDivider(x / this.box[0]);
      else if (mode === "pan") this.free(() => this.panBy(x - old[0], y - old[1]));
      else if (mode === "point") this.point(x, y);
      else if (mode === "pinch" && pointers.size === 2) {
        const [a, b] = [...pointers.values()], wide = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (spread > 0) this.free(() => this.zoomBy(wide / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2));
        spread = wide;
      }
    };
    const up = (event) => {
      pointers.delete(event.pointerId);
      if (mode === "pan" && !moved && this.page.isLinked) this.point(...place(event));
      mode = null;
    };
    this.stage.addEventListener("pointerdown", down);
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener("pointerup", up);
    this.stage.addEventListener("pointercancel", up);
    this.stage.addEventListener("pointerleave", () => { this.readout.textContent = ""; });
    this.stage.addEventListener("dblclick", (event) => this.free(() => this.zoomBy(2, ...place(event))));
    this.stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.canvas) return;
      event.preventDefault();
      this.free(() => this.zoomBy(Math.exp(-event.deltaY * 0.002), ...place(event)));
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.pressed(event));
    this.handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.1 : 0.01, { divider } = this.page;
      const next = {
        ArrowLeft: divider - step, ArrowDown: divider - step, ArrowRight: divider + step, ArrowUp: divider + step,
        PageDown: divider - 0.1, PageUp: divider + 0.1, Home: 0, End: 1,
      }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      this.page.setDivider(next);
    });
  }

  free(act) {
    this.isFresh = false;
    act();
  }

  pressed(event) {
    const step = 40, act = {
      "+": () => this.zoomBy(1.5), "=": () => this.zoomBy(1.5), "-": () => this.zoomBy(1 / 1.5), "0": () => this.showStart(),
      ArrowLeft: () => this.panBy(step, 0), ArrowRight: () => this.panBy(-step, 0),
      ArrowUp: () => this.panBy(0, step), ArrowDown: () => this.panBy(0, -step),
      PageUp: () => this.page.moveTo(this.about.axis, this.slice + 1),
      PageDown: () => this.page.moveTo(this.about.axis, this.slice - 1),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.free(act);
  }

  /* Of three planes: the others go through this point. */
  point(x, y) {
    if (!this.page.isLinked) return;
    const [fx, fy] = this.toField(x, y), [across, down] = { z: "xy", y: "xz", x: "yz" }[this.about.axis];
    this.page.pointAt({ [across]: clamp(fx, 0, this.about.width - 1e-6), [down]: clamp(fy, 0, this.about.height - 1e-6) });
  }

  /* Values under the pointer. */
  tell(x, y) {
    if (!this.view) return;
    const [fx, fy] = this.toField(x, y), words = [];
    if (fx < 0 || fy < 0 || fx >= this.about.width || fy >= this.about.height) return void (this.readout.textContent = "");
    const { layers } = this.page.source;
    for (const [layer, sign] of [["before", ""], ["after", " → "], ["std", " ± "], ["residual", "  residual "], ["error", "  error "]]) {
      if (!layers[layer] || (["residual", "error"].includes(layer) && this.page.right !== layer)) continue;
      const value = this.valueAt(layer, fx, fy);
      if (value !== null) words.push((words.length ? sign : sign.trim().replace("→", "")) + value);
    }
    const unit = layers.after.unit ? ` ${layers.after.unit}` : "";
    this.readout.textContent = words.length ? words.join("") + unit : "";
  }

  valueAt(layer, fx, fy) {
    for (let number = this.about.levels.length - 1; number >= 0; number--) {
      const extent = this.about.levels[number][layer];
      if (!extent) continue;
      const column = Math.floor((fx - extent.x) / extent.step[0]), row = Math.floor((fy - extent.y) / extent.step[1]);
      if (column < 0 || row < 0 || column >= extent.width || row >= extent.height) continue;
      const tile = this.page.source.tile, [px, py] = tile ? [column, row].map((v) => Math.floor(v / tile) * tile) : [0, 0];
      const entry = this.cache.get([layer, number, this.slice, px, py].join());
      if (!entry || entry.state !== "here") continue;
      const at = (row - py) * entry.part.width + column - px;
      const values = entry.channels.map((codes) => (codes[at] ? valueOf(codes[at], this.page.source.layers[layer].coding) : NaN));
      return values.map(shortNumber).join(" ");
    }
    return null;
  }
}
