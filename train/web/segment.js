
const TILE = 512;
const view = { picture: null, result: null, chosen: null, x: 0, y: 0, scale: 1, tiles: new Map(), drawn: false };
const canvas = at("canvas");

function redraw() {
  if (view.drawn) return;
  view.drawn = true;
  requestAnimationFrame(() => { view.drawn = false; draw(); });
}

function fitted() {
  const { width, height } = view.picture;
  view.scale = Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
  view.x = (width - canvas.clientWidth / view.scale) / 2;
  view.y = (height - canvas.clientHeight / view.scale) / 2;
  redraw();
}

function zoomed(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  if (!view.picture) return;
  const least = 0.5 * Math.min(canvas.clientWidth / view.picture.width, canvas.clientHeight / view.picture.height);
  const scale = Math.min(Math.max(view.scale * factor, least), 32);
  view.x += x / view.scale - x / scale;
  view.y += y / view.scale - y / scale;
  view.scale = scale;
  redraw();
}

function moved(x, y) {
  view.x -= x / view.scale;
  view.y -= y / view.scale;
  redraw();
}

// The picture of an address if it is there; else it is loaded, and the canvas drawn again.
function loaded(address) {
  let image = view.tiles.get(address);
  if (!image) {
    if (view.tiles.size > 600) view.tiles.clear();
    image = new Image();
    image.onload = redraw;
    image.src = address;
    view.tiles.set(address, image);
  }
  return image.complete && image.naturalWidth ? image : null;
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const pen = canvas.getContext("2d");
  if (!view.picture) return;
  pen.setTransform(view.scale * ratio, 0, 0, view.scale * ratio, -view.x * view.scale * ratio, -view.y * view.scale * ratio);
  const level = Math.min(Math.max(Math.floor(Math.log2(1 / (view.scale * ratio))), 0), view.picture.levels - 1);
  const step = TILE * 2 ** level;
  const { image, width, height } = view.picture;
  const layers = [`/api/images/${image}/tiles`];
  if (view.result && at("lines").checked) layers.push(`/api/images/${image}/outlines/${view.result.version}`);
  const right = view.x + canvas.clientWidth / view.scale, below = view.y + canvas.clientHeight / view.scale;
  for (const layer of layers) {
    pen.imageSmoothingEnabled = view.scale * ratio < 2 && layer === layers[0];
    for (let row = Math.max(Math.floor(view.y / step), 0); row * step < Math.min(below, height); row++) {
      for (let column = Math.max(Math.floor(view.x / step), 0); column * step < Math.min(right, width); column++) {
        const part = loaded(`${layer}/${level}/${column}/${row}`);
        if (part) pen.drawImage(part, column * step, row * step, part.naturalWidth * 2 ** level, part.naturalHeight * 2 ** level);
      }
    }
  }
  if (view.chosen) {
    pen.beginPath();
    for (const [x, y] of view.chosen.outline) pen.lineTo(x, y);
    pen.closePath();
    pen.lineWidth = 3 / view.scale;
    pen.strokeStyle = "#ffe600";
    pen.stroke();
  }
}

async function send(file) {
  const picture = await waiting("Reading the image ...", ask(`/api/images?name=${encodeURIComponent(file.name)}`, {
    method: "POST", body: file,
  }).then((answer) => answer.json()));
  if (view.picture) post(`/api/images/${view.picture.image}/forget`).catch(() => {});
  Object.assign(view, { picture, result: null });
  view.tiles.clear();
  shownNucleus(null);
  at("empty").hidden = true;
  at("results").hidden = at("thresholds").disabled = true;
  at("start").disabled = false;
  fitted();
  tell(`${file.name}: ${picture.width} x ${picture.height} pixels.`);
}

let wish = 0;
async function segment(thresholds = {}) {
  const mine = ++wish, { image } = view.picture;
  const seen = [view.x, view.y, canvas.clientWidth / view.scale, canvas.clientHeight / view.scale];
  const work = post(`/api/images/${image}/segment`, {
    model: at("model").value, normalise: at("normalise").checked, microns_per_pixel: Number(at("microns").value),
    view: Object.keys(thresholds).length ? view.asked : seen, ...thresholds,
  });
  if (!Object.keys(thresholds).length) view.asked = seen;
  const result = await waiting("Segmenting ...", work);
  if (mine !== wish || image !== view.picture.image) return;
  view.result = result;
  shownNucleus(null);
  at("results").hidden = at("thresholds").disabled = false;
  at("count").textContent = result.count;
  at("number").max = result.count;
  for (const [id, name] of [["seed", "seed_height"], ["mean", "mean_min"]]) {
    at(id).value = result[name];
    at(`${id}-shown`).textContent = result[name].toFixed(2);
  }
  const { width, height } = view.picture, [left, top, wide, high] = result.part;
  const part = wide === width && high === height ? "" : ` in the ${wide} x ${high} pixels at ${left}, ${top} that were in view`;
  tell(`${result.count} nuclei${part}.`);
  redraw();
}

function shownNucleus(nucleus) {
  view.chosen = nucleus;
  const body = at("row").tBodies[0];
  body.replaceChildren();
  at("row").caption.textContent = nucleus ? `Nucleus ${nucleus.row.label}` : "No nucleus chosen.";
  for (const [name, value] of Object.entries(nucleus?.row ?? {})) {
    const text = value === null ? "-" : Number.isInteger(value) ? String(value) : value.toFixed(3);
    body.append(made("tr", {}, made("th", { scope: "row" }, name), made("td", {}, text)));
  }
  redraw();
}

async function find(query, centred) {
  if (!view.result) return;
  const nucleus = await get(`/api/images/${view.picture.image}/nuclei/${view.result.version}?${query}`);
  shownNucleus(nucleus);
  if (nucleus && centred) {
    view.x = nucleus.row.centroid_x - canvas.clientWidth / view.scale / 2;
    view.y = nucleus.row.centroid_y - canvas.clientHeight / view.scale / 2;
    redraw();
  }
}

const pointers = new Map();
let travelled = 0;
const spread = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  if (pointers.size === 1) travelled = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last || !view.picture) return;
  const before = pointers.size === 2 ? spread() : 0;
  pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  travelled += Math.abs(event.offsetX - last.x) + Math.abs(event.offsetY - last.y);
  if (pointers.size === 2) zoomed(spread() / before, event.offsetX, event.offsetY);
  else moved(event.offsetX - last.x, event.offsetY - last.y);
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => {
  if (kind === "pointerup" && pointers.size === 1 && travelled < 5 && view.picture) {
    const x = Math.floor(view.x + event.offsetX / view.scale), y = Math.floor(view.y + event.offsetY / view.scale);
    if (x >= 0 && y >= 0) attempt(() => find(`x=${x}&y=${y}`, false));
  }
  pointers.delete(event.pointerId);
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomed(1.0015 ** -event.deltaY, event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const keys = {
    ArrowLeft: () => moved(60, 0), ArrowRight: () => moved(-60, 0), ArrowUp: () => moved(0, 60), ArrowDown: () => moved(0, -60),
    "+": () => zoomed(1.4), "=": () => zoomed(1.4), "-": () => zoomed(1 / 1.4), 0: fitted,
  };
  if (view.picture && keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
new ResizeObserver(redraw).observe(canvas);

at("closer").addEventListener("click", () => zoomed(1.6));
at("farther").addEventListener("click", () => zoomed(1 / 1.6));
at("fit").addEventListener("click", () => view.picture && fitted());
at("lines").addEventListener("change", redraw);
at("file").addEventListener("change", () => { const [file] = at("file").files; if (file) attempt(() => send(file)); });
const frame = at("frame");
frame.addEventListener("dragover", (event) => { event.preventDefault(); frame.classList.add("over"); });
frame.addEventListener("dragleave", () => frame.classList.remove("over"));
frame.addEventListener("drop", (event) => {
  event.preventDefault();
  frame.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) attempt(() => send(file));
});
at("asked").addEventListener("submit", (event) => { event.preventDefault(); if (view.picture) attempt(() => segment()); });
at("normalise").addEventListener("change", () => { if (view.result) attempt(() => segment()); });
at("usual").addEventListener("click", () => attempt(() => segment({ seed_height: null })));
let pause;
for (const id of ["seed", "mean"]) at(id).addEventListener("input", () => {
  at(`${id}-shown`).textContent = Number(at(id).value).toFixed(2);
  clearTimeout(pause);
  const chosen = () => ({ seed_height: Number(at("seed").value), mean_min: Number(at("mean").value) });
  pause = setTimeout(() => attempt(() => segment(chosen())), 200);
});
at("number").addEventListener("change", () => {
  if (at("number").value > 0) attempt(() => find(`label=${at("number").value}`, true));
});
for (const button of document.querySelectorAll("[data-file]")) button.addEventListener("click", () => {
  const link = made("a", { href: `/api/images/${view.picture.image}/files/${view.result.version}/${button.dataset.file}`, download: "" });
  link.click();
});
window.addEventListener("pagehide", () => {
  if (view.picture) navigator.sendBeacon(`/api/images/${view.picture.image}/forget`);
});
attempt(async () => {
  for (const name of await get("/api/models")) at("model").append(made("option", {}, name));
});
