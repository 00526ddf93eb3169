
let painted = [];
const NAMES = ["mask", "initial", "reference", "refined"];

function gallery() {
  const sign = { painted: 0, lowest: 1, highest: -1 }[at("sorted").value];
  const shown = [...painted].sort((one, other) => sign * (one.weight - other.weight));
  at("gallery").replaceChildren(...shown.map((patch) => made("li", {},
    ...NAMES.filter((name) => patch[name]).map((name) => made("figure", {},
      made("img", { src: patch[name], alt: `${name} patch of ${patch.tile}` }), made("figcaption", {}, name))),
    made("p", {}, patch.weight === null ? patch.tile : `${patch.tile}, weight ${patch.weight.toFixed(2)}`))));
}

const wished = () => ({
  model: at("painter").value, tiles: at("tissue").value, seed: Number(at("seeded").value), count: Number(at("many").value),
});
at("painting").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    painted = await waiting("Painting ...", post("/api/patches", wished()));
    const weighed = painted.some(({ weight }) => weight !== null);
    at("sorting").hidden = !weighed;
    at("styles").hidden = true;
    gallery();
    tell(`${painted.length} patches${weighed ? "" : "; this model has no refiner, so there are no refined ones and no weights"}.`);
  });
});
at("sorted").addEventListener("change", gallery);
at("restyle").addEventListener("click", () => attempt(async () => {
  const rows = await waiting("Painting ...", post("/api/styles", wished()));
  at("styled").replaceChildren(...rows.map((row, r) => made("tr", {}, ...row.map((picture, c) => {
    const text = r === 0 ? (c === 0 ? "the mask" : `reference ${c - 1}`)
      : ["source", "initial"][c] ? `${["source", "initial"][c]} of tissue ${r}` : `tissue ${r} refined to reference ${c - 1}`;
    return made("td", {}, ...(picture ? [made("img", { src: picture, alt: text })] : []));
  }))));
  at("styles").hidden = false;
  tell("One mask under several styles.");
}));
attempt(async () => {
  for (const name of await get("/api/models")) at("painter").append(made("option", {}, name));
});
