/* Pixels from the server that made this page: tiles, fetched as they come into view.
 *
 * Coarse levels of a large image are estimated from some of its rows until the server has read all of it; such tiles are
 * fetched once more then.
 */
"use strict";

function tileSource(scene, tell) {
  const at = (...words) => [scene.root, ...words].join("/");
  const source = {
    layers: scene.layers,
    planes: scene.planes,
    tile: scene.tile,
    onEstimate: () => {},
    async read(layer, want) {
      if (!scene.planes[want.plane].levels[want.level][layer]) return null;
      const column = want.x / scene.tile, row = want.y / scene.tile;
      const reply = await ask(at("tile", layer, want.plane, want.slice, want.level, column, row));
      const codes = new Uint16Array(await reply.arrayBuffer()), size = want.width * want.height, channels = [];
      for (let start = 0; start < codes.length; start += size) channels.push(codes.subarray(start, start + size));
      if (reply.headers.get("X-Scisr-Exact") !== "1") {
        channels.want = want;
        source.onEstimate();
      }
      return channels;
    },
    async progress(layer, want) {
      return (await ask(at("levels", layer, want.plane, want.slice))).json();
    },
  };
  async function ask(address) {
    let reply;
    try {
      reply = await fetch(address);
    } catch (error) {
      tell("The server has stopped: run scisr view again.");
      throw error;
    }
    if (!reply.ok) {
      tell(`A part of the image can't be shown: ${(await reply.text()).trim()}.`);
      throw new Error(`status ${reply.status}`);
    }
    return reply;
  }
  return source;
}

/* Asks how far the server is, and replaces estimated tiles by exact ones when it is done. */
function watchEstimates(page, source, tell) {
  let isWatching = false;
  const estimates = () => page.panes.flatMap((pane) =>
    [...pane.cache.values()].filter((entry) => entry.channels && entry.channels.want).map((entry) => ({ pane, entry })));
  const seen = ({ pane, entry }) => entry.channels.want.slice === pane.slice;
  const look = async () => {
    const open = estimates().filter(seen);
    if (!open.length) {
      isWatching = false;
      tell("");
      return;
    }
    const groups = new Map();
    for (const each of open) {
      const key = [each.entry.layer, each.entry.channels.want.plane].join();
      groups.set(key, [...(groups.get(key) || []), each]);
    }
    const done = [];
    for (const group of groups.values()) {
      const { layer, channels } = group[0].entry, state = await source.progress(layer, channels.want);
      done.push(state.done);
      if (state.complete) await Promise.all(group.map(renew));
    }
    const least = Math.min(...done);
    if (least < 1) tell(`Estimated from some of its rows until all are read (${Math.floor(100 * least)} %).`);
    setTimeout(() => look().catch(stop), 400);
  };
  const renew = async ({ pane, entry }) => {
    entry.channels = await source.read(entry.layer, entry.channels.want);
    entry.version = undefined;
    pane.draw();
  };
  const stop = () => { isWatching = false; };
  source.onEstimate = () => {
    if (isWatching) return;
    isWatching = true;
    setTimeout(() => look().catch(stop), 200);
  };
}

(() => {
  document.documentElement.classList.add("js");
  setUpParts();
  const scene = JSON.parse(document.querySelector("#tiles").textContent), state = document.querySelector("#state");
  const tell = (text) => { state.textContent = text; };
  const source = tileSource(scene, tell), page = new Page(source, []);
  for (const pane of page.panes) {
    pane.handle.hidden = !page.left;
    for (const button of pane.tools.querySelectorAll('[aria-label^="Show the part"]')) button.remove(); // all of it is native
  }
  watchEstimates(page, source, tell);
  setUpStretch(page);
  setUpLayers(page);
  setUpPrint(page);
  const chooser = document.querySelector("#chooser");
  if (chooser) chooser.addEventListener("change", () => { window.location.href = chooser.value; });
  const volume = document.querySelector("#volume");
  if (volume) volume.addEventListener("change", () => {
    const number = clamp(Math.round(Number(volume.value)), Number(volume.min), Number(volume.max));
    window.location.href = `${scene.volumes}/${number}/`;
  });
})();
