import { detect, offered, target } from "./api.js";
import { draw } from "./picture.js";

// what each shows, for those who do not see it
const SAMPLES = {
  "group.jpg": "a wall of two portraits in many sizes",
  "astronaut.png": "a portrait of an astronaut",
  "sideways.jpg": "a portrait stored sideways (EXIF)",
  "grace_hopper.jpg": "a portrait of an officer",
  "chelsea.png": "a cat, no face of a human",
  "coffee.webp": "a cup of coffee, no face",
};

const by = (id) => document.getElementById(id);
const picture = by("picture");
// the photo under way: its bytes, its pixels, its name, and what was found
let photo = null;
let asked = null;
let taken = 0;

function options() {
  return {
    model: by("model").value,
    input_size: by("size").value,
    mirror: by("mirror").checked,
    confidence_threshold: by("confidence").value,
  };
}

function show(marked = null) {
  if (!photo?.pixels) return;
  draw(picture, photo.pixels, photo.result?.faces ?? [], by("options").elements.show.value, marked);
}

function tellLeast() {
  by("least").value = Number(by("confidence").value).toFixed(2);
}

function tell(text, bad = false) {
  by("status").textContent = text;
  by("status").classList.toggle("bad", bad);
}

// until a photo's faces are known, it cannot be saved: it would be unblurred
function forget() {
  by("faces").hidden = by("actions").hidden = by("call").hidden = true;
}

function row(face) {
  const { left, top, width, height } = face.box;
  const line = document.createElement("tr");
  const cells = [
    face.confidence.toFixed(3),
    `${Math.round(left)}, ${Math.round(top)}`,
    `${Math.round(width)} × ${Math.round(height)}`,
  ];
  line.append(
    ...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })),
  );
  // by mouse or by keyboard: the table is one stop, and the arrow keys go through its rows
  line.tabIndex = -1;
  for (const name of ["mouseenter", "focus"]) line.addEventListener(name, () => show(face));
  for (const name of ["mouseleave", "blur"]) line.addEventListener(name, () => show());
  return line;
}

function rows() {
  return [...by("faces").tBodies[0].rows];
}

// the row that Tab leads to
function reach(line) {
  for (const other of rows()) other.tabIndex = other === line ? 0 : -1;
}

function step(event) {
  const all = rows();
  const at = all.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (at < 0 || next === undefined) return;
  event.preventDefault();
  const line = all[Math.min(Math.max(next, 0), all.length - 1)];
  reach(line);
  line.focus();
}

function present({ faces, timings }) {
  const count = faces.length === 1 ? "1 face" : faces.length ? `${faces.length} faces` : "No face";
  tell(`${count}, found in ${Math.round(timings.total_ms)} ms`);
  picture.setAttribute("aria-label", `${photo.name}: ${count.toLowerCase()}`);
  by("faces").hidden = faces.length === 0;
  by("faces").tBodies[0].replaceChildren(...faces.map(row));
  reach(rows()[0]);
  by("actions").hidden = by("call").hidden = false;
  const place = new URL(target(options()), location.href);
  const name = photo.name.replaceAll("'", "'\\''");
  by("call").querySelector("pre").textContent =
    `curl --data-binary '@${name}' -H 'Content-Type: application/octet-stream' '${place}'`;
}

async function search() {
  if (!photo) return;
  // only the last of several answers counts
  asked?.abort();
  asked = new AbortController();
  const current = photo;
  tell("Searching");
  try {
    current.result = await detect(current.bytes, options(), asked.signal);
    present(current.result);
  } catch (error) {
    if (error.name === "AbortError") return;
    current.result = null;
    forget();
    tell(error.code ? `${error.message} (${error.code})` : error.message, true);
  }
  show();
}

async function take(bytes, name) {
  taken += 1;
  const turn = taken;
  // what the browser cannot show may still be a photo to the server, or the server says why it is none
  const pixels = await createImageBitmap(bytes, { imageOrientation: "from-image" }).catch(() => null);
  // a small photo is decoded before a large one that was chosen before it
  if (turn !== taken) return;
  photo = { bytes, name, pixels, result: null };
  picture.hidden = !pixels;
  picture.setAttribute("aria-label", name);
  by("invitation").hidden = Boolean(pixels);
  by("drop").classList.toggle("filled", Boolean(pixels));
  forget();
  show();
  await search();
}

function takeFirst(files) {
  const [file] = files;
  if (file) take(file, file.name || "photo");
}

function listen() {
  by("file").addEventListener("change", (event) => {
    takeFirst(event.target.files);
    // so that the same photo can be chosen again
    event.target.value = "";
  });
  const drop = by("drop");
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name === "drop") takeFirst(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => takeFirst(event.clipboardData.files));
  by("options").addEventListener("submit", (event) => event.preventDefault());
  by("options").addEventListener("input", tellLeast);
  by("options").addEventListener("change", (event) => (event.target.name === "show" ? show() : search()));
  by("faces").addEventListener("keydown", step);
  by("save").addEventListener("click", () => {
    picture.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${photo.name.replace(/\.[^.]*$/, "")}.faces.png`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  });
  by("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(JSON.stringify(photo.result, null, 2));
    by("copy").textContent = "Copied";
    setTimeout(() => { by("copy").textContent = "Copy the JSON"; }, 1500);
  });
}

function offerSamples() {
  for (const [name, alt] of Object.entries(SAMPLES)) {
    const image = Object.assign(document.createElement("img"), { src: `photos/${name}`, alt, loading: "lazy" });
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    button.append(image);
    button.addEventListener("click", async () => take(await (await fetch(image.src)).blob(), name));
    const item = document.createElement("li");
    item.append(button);
    by("samples").append(item);
  }
}

function startFrom({ input_size: size, mirror, confidence_threshold: confidence }) {
  const sizes = by("size");
  // the first that is as large; -1, which is the end to add(), if none is
  const place = [...sizes.options].findIndex((option) => Number(option.value) >= size);
  if (Number(sizes.options[place]?.value) !== size) sizes.add(new Option(`${size} px`, size), place);
  sizes.value = size;
  by("mirror").checked = mirror;
  by("confidence").value = confidence;
  tellLeast();
}

async function offer() {
  try {
    const { models, defaults } = await offered();
    startFrom(defaults);
    for (const { model, name, version, parameters, default: own } of models) {
      const text = `${name.replace("FeatherFace ", "")} ${version}: ${parameters.toLocaleString("en")} parameters`;
      by("model").append(new Option(text, model, own, own));
    }
  } catch (error) {
    tell(error.message, true);
  }
}

listen();
offerSamples();
await offer();
