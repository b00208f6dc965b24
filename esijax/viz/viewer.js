"use strict";
// Draws what is in `DATA` (interactive.py says what that is): a cortex, spheres, a colour bar.
const get = id => document.getElementById(id), plot = get("plot");
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
const floats = text => new Float32Array(bytes(text)), shorts = text => new Uint16Array(bytes(text));
const ints = text => new Int32Array(bytes(text)), small = text => new Uint8Array(bytes(text));
const clamp = x => Math.min(Math.max(x, 0), 1);

const sides = DATA.sides.map(s => ({
  name: s.name, x: floats(s.x), y: floats(s.y), z: floats(s.z),
  i: ints(s.i), j: ints(s.j), k: ints(s.k), grey: small(s.grey), shine: floats(s.shine),
  start: ints(s.start), at: ints(s.at), weight: floats(s.weight),
}));
const maps = DATA.maps.map(m => ({...m, lut: small(m.lut), codes: shorts(m.codes)}));
const anchors = DATA.anchors.map(floats), deep = DATA.deep, sideOf = small(DATA.side_of);
const lighting = {ambient: 0.72, diffuse: 0.5, specular: 0.06, roughness: 0.9};

// values of a map at a frame: quantised, so that a page stays small
function values(map, frame) {
  const n = DATA.n, from = map.frames > 1 ? frame * n : 0, out = new Float32Array(n);
  const step = (map.high - map.low) / 65534;
  for (let l = 0; l < n; l++) {
    const code = map.codes[from + l];
    out[l] = code === 65535 ? NaN : map.low + step * code;
  }
  return out;
}
function colour(map, value, shine) {
  const at = 3 * Math.round(255 * clamp((value - map.limits[0]) / (map.limits[1] - map.limits[0])));
  const part = c => Math.round(map.lut[at + c] * shine);
  return `rgb(${part(0)},${part(1)},${part(2)})`;
}
function painted(side, map, found) {
  const n = side.x.length, colours = new Array(n), shown = new Array(n);
  for (let v = 0; v < n; v++) {
    let value = side.start[v + 1] > side.start[v] && !map.spheres ? 0 : NaN;
    if (!map.spheres)
      for (let e = side.start[v]; e < side.start[v + 1]; e++)
        value += side.weight[e] * found[side.at[e]];
    const bare = Number.isNaN(value) || Math.abs(value) < map.threshold;
    colours[v] = bare ? `rgb(${side.grey[v]},${side.grey[v]},${side.grey[v]})`
                      : colour(map, value, side.shine[v]);
    shown[v] = Number.isNaN(value) ? "-" : value.toPrecision(3);
  }
  return {vertexcolor: colours, customdata: shown};
}
const visible = name => { const box = get(name); return !box || box.checked; };
function spheres(map, found) {
  const out = {x: [], y: [], z: [], size: [], colour: [], text: []};
  const top = Math.max(Math.abs(map.limits[0]), Math.abs(map.limits[1]));
  const wanted = map.spheres ? found.keys() : deep;
  for (const l of wanted) {
    const size = Math.abs(found[l]);
    if (!(size >= map.threshold && size > 0) || !visible(["left", "right", ""][sideOf[l]])) continue;
    anchors.forEach((a, c) => out["xyz"[c]].push(a[l]));
    out.size.push(26 * Math.sqrt(Math.max(size / top, 0.05)));
    out.colour.push(colour(map, found[l], 1));
    out.text.push(`${found[l].toPrecision(3)} ${map.label}, location ${l}`);
  }
  return out;
}
function bar(map) {
  const scale = [];
  for (let c = 0; c < 256; c += 3) {
    const value = map.limits[0] + (map.limits[1] - map.limits[0]) * c / 255;
    const bare = !map.spheres && Math.abs(value) < map.threshold;
    scale.push([c / 255, bare ? "rgb(184,184,184)" : colour(map, value, 1)]);
  }
  return {color: [map.limits[0]], cmin: map.limits[0], cmax: map.limits[1], colorscale: scale,
          showscale: true, size: 0.1, opacity: 0,
          colorbar: {title: {text: map.label, side: "right"}, len: 0.7, thickness: 16}};
}

let chosen = 0, frame = DATA.start;
function marks(map, found) {
  const s = spheres(map, found);
  return {x: s.x, y: s.y, z: s.z, text: s.text,
          marker: {size: s.size, color: s.colour, opacity: 1, line: {color: "black", width: 1}}};
}
function traces() {
  const map = maps[chosen], found = values(map, frame), empty = {x: [null], y: [null], z: [null]};
  const out = sides.map(s => ({
    type: "mesh3d", x: s.x, y: s.y, z: s.z, i: s.i, j: s.j, k: s.k, lighting, name: s.name,
    hovertemplate: `%{customdata} ${map.label}<extra>${s.name}</extra>`, visible: visible(s.name),
    ...painted(s, map, found)}));
  if (deep.length) out.push({type: "scatter3d", mode: "markers", hoverinfo: "skip",
    ...Object.fromEntries(anchors.map((a, c) => ["xyz"[c], deep.map(l => a[l])])),
    marker: {size: 1.5, color: "#999999"}});
  out.push({type: "scatter3d", mode: "markers", hoverinfo: "text", ...marks(map, found)});
  out.push({type: "scatter3d", mode: "markers", hoverinfo: "skip", ...empty, marker: bar(map)});
  return out.map(t => ({showlegend: false, ...t}));
}
const off = {visible: false};
const layout = {
  scene: {xaxis: off, yaxis: off, zaxis: off, aspectmode: "data", uirevision: "kept",
          camera: {eye: DATA.eye}},
  margin: {l: 0, r: 0, t: 0, b: 0}, font: {family: "system-ui, sans-serif", size: 14},
  paper_bgcolor: "white", uirevision: "kept",
};
function told() {
  const map = maps[chosen], still = DATA.times.length > 1 && map.frames === 1;
  const text = DATA.times.length ? `${DATA.times[still ? DATA.start : frame]} ms` : "";
  if (get("time")) {
    get("time").disabled = still;
    get("time").setAttribute("aria-valuetext", text);
  }
  get("now").textContent = still && !map.steady ? `${text} only` : still ? "all times" : text;
}
let busy = false, again = false;
async function redraw() {
  if (busy) { again = true; return; }  // a moving slider asks faster than one can draw
  busy = true;
  do {
    again = false;
    told();
    await Plotly.react(plot, traces(), layout);
    plot.dataset.frame = frame;
    plot.dataset.map = maps[chosen].name;
  } while (again);
  busy = false;
}
function look(x, y, z) {
  layout.scene.camera = {eye: {x, y, z}};
  Plotly.relayout(plot, {"scene.camera.eye": {x, y, z}});
}

maps.forEach((m, n) => get("map").add(new Option(m.name, n)));
get("map").onchange = e => { chosen = Number(e.target.value); redraw(); };
if (get("time")) get("time").oninput = e => { frame = Number(e.target.value); redraw(); };
for (const s of sides) get(s.name).onchange = redraw;
for (const button of document.querySelectorAll("button[data-eye]"))
  button.onclick = () => look(...button.dataset.eye.split(" ").map(Number));
told();
Plotly.newPlot(plot, traces(), layout, {displayModeBar: false, responsive: true})
  .then(() => { plot.dataset.frame = frame; plot.dataset.map = maps[chosen].name; });
