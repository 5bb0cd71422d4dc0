"use strict";

/* ---- the page ---- */

class Page {
  constructor(source, features) {
    this.source = source;
    this.features = features || [];
    this.showFeatures = this.features.length > 0;
    this.left = source.layers.before ? "before" : null;
    this.right = "after";
    this.divider = this.left ? 0.5 : 0;
    this.isLinked = source.planes.length > 1;
    this.stretches = {};
    this.tables = {};
    this.versions = {};
    for (const [name, layer] of Object.entries(source.layers)) this.stretches[name] = { ...layer.shown };
    for (const name of Object.keys(source.layers)) this.recolour(name);
    this.cross = {};
    for (const plane of source.planes) this.cross[plane.axis] = (plane.start.slice + 0.5) / plane.sliceFactor;
    this.panes = [...document.querySelectorAll(".pane")].map((root) => new HeldPane(this, root, Number(root.dataset.plane)));
  }

  recolour(name) {
    this.tables[name] = tableOf(this.source.layers[name], this.stretches[name]);
    this.versions[name] = (this.versions[name] || 0) + 1;
  }
  setStretch(change) {
    for (const name of ["before", "after"]) {
      if (!this.source.layers[name]) continue;
      Object.assign(this.stretches[name], change);
      this.recolour(name);
    }
    this.draw();
  }
  setDivider(value) {
    if (!this.left) value = 0;
    this.divider = clamp(value, 0, 1);
    this.draw();
  }
  setRight(layer) {
    this.right = layer;
    this.draw();
  }
  setFeatures(on) {
    this.showFeatures = on;
    this.draw();
  }
  moveTo(axis, slice) {
    for (const pane of this.panes) {
      if (pane.about.axis !== axis) continue;
      pane.slice = clamp(Math.round(slice), 0, pane.about.slices - 1);
      this.cross[axis] = (pane.slice + 0.5) / pane.about.sliceFactor;
    }
    this.draw();
  }
  pointAt(place) {
    Object.assign(this.cross, place);
    for (const [axis, value] of Object.entries(place)) {
      const pane = this.panes.find((p) => p.about.axis === axis);
      if (pane) pane.slice = clamp(Math.floor(value * pane.about.sliceFactor), 0, pane.about.slices - 1);
    }
    this.draw();
  }
  draw() { for (const pane of this.panes) pane.draw(); }
}

/* ---- controls ---- */

function setUpStretch(page) {
  const root = document.querySelector("#stretch");
  const layer = page.source.layers.after, { coding, shown } = layer;
  if (!root) return;
  const find = (name) => root.querySelector(`[name="${name}"]`);
  const [curve, black, white, invert] = ["curve", "black", "white", "invert"].map(find);
  const presets = root.querySelector(".presets"), said = root.querySelector(".said");
  const [least, most] = shown.range ? shown.range.map((value) => codeOf(value, coding)) : [1, coding.codes];
  for (const slider of [black, white]) Object.assign(slider, { min: least, max: most, step: "any" });
  const refresh = () => {
    const now = page.stretches.after;
    curve.value = now.curve;
    black.value = codeOf(now.black, coding);
    white.value = codeOf(now.white, coding);
    invert.checked = Boolean(now.inverted);
    said.textContent = `${shortNumber(now.black)} to ${shortNumber(now.white)}${layer.unit ? " " + layer.unit : ""}`;
    black.setAttribute("aria-valuetext", shortNumber(now.black));
    white.setAttribute("aria-valuetext", shortNumber(now.white));
  };
  const set = (change) => {
    page.setStretch(change);
    refresh();
  };
  const gap = (most - least) / 500;
  black.addEventListener("input", () => {
    const top = codeOf(page.stretches.after.white, coding) - gap;
    set({ black: valueOf(Math.min(Number(black.value), top), coding) });
  });
  white.addEventListener("input", () => {
    const bottom = codeOf(page.stretches.after.black, coding) + gap;
    set({ white: valueOf(Math.max(Number(white.value), bottom), coding) });
  });
  curve.addEventListener("change", () => set({ curve: curve.value }));
  invert.addEventListener("change", () => set({ inverted: invert.checked }));
  for (const preset of shown.presets || []) {
    const button = el("button", { type: "button" }, preset.name);
    button.addEventListener("click", () => {
      const { name, ...values } = preset;
      set(values);
    });
    presets.append(button);
  }
  refresh();
}

/* What stands right of the divider. */
function setUpLayers(page) {
  for (const choice of document.querySelectorAll('input[name="right"]')) {
    choice.addEventListener("change", () => choice.checked && page.setRight(choice.value));
    if (choice.checked) page.setRight(choice.value);
  }
  const toggle = document.querySelector("#features");
  if (toggle) {
    toggle.checked = page.showFeatures;
    toggle.addEventListener("change", () => page.setFeatures(toggle.checked));
  }
  const legend = document.querySelector("#legend");
  const show = () => {
    const layer = page.source.layers[page.right];
    const isMap = layer.map !== "grey";
    legend.hidden = !isMap;
    if (!isMap) return;
    const canvas = legend.querySelector("canvas"), context = canvas.getContext("2d");
    for (let x = 0; x < canvas.width; x++) {
      const [r, g, b] = colourAt(layer.map, x / (canvas.width - 1));
      context.fillStyle = `rgb(${r}, ${g}, ${b})`;
      context.fillRect(x, 0, 1, canvas.height);
    }
    const [low, high] = legend.querySelectorAll("span");
    low.textContent = shortNumber(layer.shown.black);
    high.textContent = `${shortNumber(layer.shown.white)}${layer.unit ? " " + layer.unit : ""}`;
  };
  if (legend) {
    document.addEventListener("change", show);
    show();
  }
}

/* On paper both pictures stand side by side, as they are shown now. */
function setUpPrint(page) {
  const swap = () => {
    const pane = page.panes[0];
    if (!pane || !pane.view) return;
    for (const [layer, divider] of [["before", 1], ["after", 0]]) {
      const picture = document.querySelector(`#print-${layer}`);
      if (!picture || !page.source.layers[layer]) continue;
      const kept = [page.divider, page.right];
      [page.divider, page.right] = [divider, "after"];
      pane.paint();
      picture.src = pane.canvas.toDataURL("image/png");
      [page.divider, page.right] = kept;
      pane.paint();
    }
  };
  window.addEventListener("beforeprint", swap);
}
