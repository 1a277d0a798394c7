"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const about = JSON.parse($("description").textContent);
  const [ROWS, COLUMNS] = about.shape;
  const [DOWN, ACROSS] = about.cell; // metres from row to row, from column to column
  const SIDE = about.tile;
  const COLOURS = ["#d55e00", "#0072b2", "#009e73", "#a6427c", "#7a5c00", "#4b1144", "#3b7d9e"];
  const state = {
    left: 0, right: 0, // quantities
    time: 0, polarisation: 0, swipe: 0.5, relief: true,
    scale: 1, row: ROWS / 2, column: COLUMNS / 2, // pixels of the screen per metre, the middle
    stretch: [-25, 0], automatic: true, limits: new Map(), answer: null,
  };

  // Elements and texts. Names come from files: they are set as text, never as markup.

  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "rect", "path", "line", "circle", "text", "polyline"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const number = (value, digits = 0) => value.toFixed(digits).replace(/^-(?=[0.]*$)/, "")
    .replace("-", "−");
  // Decimals that tell numbers of a range apart.
  const decimals = (range) => range >= 5 ? 0 : Math.min(1 + Math.max(0, Math.ceil(-Math.log10(range))), 9);
  const percent = (part) => part === null ? "–"
    : part >= 0.0995 ? `${number(100 * part)} %` : `${number(100 * part, 1)} %`;
  const metres = (length) => length >= 9950 ? `${number(length / 1000)} km`
    : length >= 1000 ? `${number(length / 1000, 1)} km` : `${number(length)} m`;

  // Values, from the server.

  const source = {
    async tile(layer, level, row, column) {
      const answer = await fetch(`tile/${layer}/${level}/${row}/${column}`);
      if (!answer.ok) throw new Error(await answer.text());
      return new Float32Array(await answer.arrayBuffer());
    },
    async limits(layer) {
      return (await fetch(`limits/${layer}`)).json();
    },
    async places(row, column) {
      const answer = await fetch(`places/${row}/${column}/${state.time}/${state.polarisation}`);
      if (!answer.ok) throw new Error(await answer.text());
      return answer.json();
    },
  };

  // Layers and tiles.

  const quantity = (side) => about.quantities[state[side]];

  function layerOf(index) {
    return about.layers.findIndex(([own, time, polarisation]) => own === index
      && (time < 0 || time === state.time)
      && (polarisation < 0 || polarisation === state.polarisation));
  }

  const tiles = new Map(); // by key: {values, image, style, used}
  const LARGEST = 400;
  let waiting = 0, drawn = 0;

  function tile(layer, level, row, column) {
    const key = `${layer}/${level}/${row}/${column}`;
    let found = tiles.get(key);
    if (!found) {
      found = { values: null, image: null, style: "", failed: false };
      tiles.set(key, found);
      waiting++;
      source.tile(layer, level, row, column).then((values) => {
        found.values = values;
        found.width = Math.ceil(Math.min(SIDE, COLUMNS / 2 ** level - column * SIDE));
        found.height = values.length / found.width;
      }).catch((error) => {
        found.failed = true;
        report(`A part of the map cannot be read: ${error.message}`);
      }).finally(() => { waiting--; redraw(); });
      if (tiles.size > LARGEST) forget();
    }
    found.used = ++drawn;
    return found;
  }

  function forget() {
    const old = [...tiles.entries()].filter(([, one]) => one.values)
      .sort((one, two) => one[1].used - two[1].used).slice(0, LARGEST / 4);
    for (const [key] of old) tiles.delete(key);
  }

  const palettes = Object.fromEntries(Object.entries(about.palettes).map(([name, text]) => [name,
    Uint8Array.from({ length: 768 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16))]));

  function rgb(colour) {
    return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  }

  function limitsOf(index) {
    if (about.quantities[index].kind === "db") return state.stretch;
    return state.limits.get(layerOf(index)) || [0, 1];
  }

  function styleOf(index) {
    const one = about.quantities[index];
    return one.kind === "class" ? "class" : limitsOf(index).join(":");
  }

  function paint(found, index, shade) {
    const one = about.quantities[index], { values, width, height } = found;
    const image = document.createElement("canvas");
    image.width = width;
    image.height = height;
    const context = image.getContext("2d"), data = context.createImageData(width, height);
    const pixels = data.data;
    if (one.kind === "class") {
      const colours = new Map(one.classes.map(([value, , colour]) => [value, rgb(colour)]));
      const last = one.classes[one.classes.length - 1];
      for (let i = 0; i < values.length; i++) {
        if (Number.isNaN(values[i])) continue;
        const value = Math.round(values[i]);
        // Counts above the last class are drawn as that.
        const colour = colours.get(value) || (value > last[0] ? rgb(last[2]) : [128, 128, 128]);
        pixels.set(colour, 4 * i);
        pixels[4 * i + 3] = 255;
      }
    } else {
      const [low, high] = limitsOf(index), table = palettes[one.palette];
      for (let i = 0; i < values.length; i++) {
        if (Number.isNaN(values[i])) continue;
        const k = 3 * Math.max(0, Math.min(255, Math.round(255 * (values[i] - low) / (high - low))));
        pixels[4 * i] = table[k];
        pixels[4 * i + 1] = table[k + 1];
        pixels[4 * i + 2] = table[k + 2];
        pixels[4 * i + 3] = 255;
      }
    }
    if (shade) {
      for (let i = 0; i < values.length; i++) {
        if (Number.isNaN(shade[i])) continue;
        const light = 0.45 + 0.7 * shade[i]; // 0.94 on level ground
        for (let k = 4 * i; k < 4 * i + 3; k++) pixels[k] = Math.min(255, light * pixels[k]);
      }
    }
    context.putImageData(data, 0, 0);
    return image;
  }

  const reliefIndex = about.quantities.findIndex((one) => one.name === "relief");

  function painted(index, level, row, column) {
    const layer = layerOf(index);
    if (layer < 0) return null;
    const found = tile(layer, level, row, column);
    if (!found.values) return null;
    const shaded = state.relief && reliefIndex >= 0 && index !== reliefIndex
      && about.quantities[index].kind !== "db";
    const shade = shaded ? tile(layerOf(reliefIndex), level, row, column).values : null;
    const style = styleOf(index) + (shade ? ":shaded" : "");
    if (found.style !== style) {
      found.image = paint(found, index, shade);
      found.style = style;
    }
    return found.image;
  }

  // Drawing.

  const canvas = $("canvas"), context = canvas.getContext("2d");
  let width = 1, height = 1, ratio = 1, asked = false, cursor = null;

  const toX = (column) => width / 2 + (column - state.column) * ACROSS * state.scale;
  const toY = (row) => height / 2 + (row - state.row) * DOWN * state.scale;
  const toColumn = (x) => state.column + (x - width / 2) / (ACROSS * state.scale);
  const toRow = (y) => state.row + (y - height / 2) / (DOWN * state.scale);

  function redraw() {
    document.body.dataset.ready = "false";
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }

  function draw() {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const border = state.swipe * width;
    drawSide(state.left, 0, border);
    drawSide(state.right, border, width);
    placeOverlay();
    furniture();
    if (cursor) showCursor(...cursor);
    document.body.dataset.waiting = waiting;
    document.body.dataset.ready = waiting === 0 ? "true" : "false";
  }

  function drawSide(index, from, to) {
    if (to - from < 1) return;
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, height);
    context.clip();
    const cells = 1 / (Math.max(DOWN, ACROSS) * state.scale * ratio); // per pixel of the screen
    const level = Math.max(0, Math.min(about.levels - 1, Math.floor(Math.log2(cells) + 0.25)));
    const side = SIDE * 2 ** level;
    context.imageSmoothingEnabled = cells > 0.5;
    context.imageSmoothingQuality = "high";
    const columns = [Math.max(0, toColumn(from)), Math.min(COLUMNS - 1e-6, toColumn(to))];
    const rows = [Math.max(0, toRow(0)), Math.min(ROWS - 1e-6, toRow(height))];
    for (let r = Math.floor(rows[0] / side); r <= Math.floor(rows[1] / side); r++) {
      for (let c = Math.floor(columns[0] / side); c <= Math.floor(columns[1] / side); c++) {
        const image = painted(index, level, r, c);
        if (image) place(image, level, r * side, c * side);
        else drawCoarser(index, level, r, c);
      }
    }
    context.restore();
  }

  function place(image, level, row, column) {
    // Edges at whole pixels of the screen leave no seams.
    const step = 2 ** level, snap = (value) => Math.round(value * ratio) / ratio;
    const x = snap(toX(column)), y = snap(toY(row));
    const right = snap(toX(Math.min(column + image.width * step, COLUMNS)));
    const bottom = snap(toY(Math.min(row + image.height * step, ROWS)));
    context.drawImage(image, x, y, right - x, bottom - y);
  }

  function drawCoarser(index, level, row, column) {
    const layer = layerOf(index), side = SIDE * 2 ** level;
    for (let up = level + 1; up < about.levels; up++) {
      const shift = 2 ** (up - level), r = Math.floor(row / shift), c = Math.floor(column / shift);
      const found = tiles.get(`${layer}/${up}/${r}/${c}`);
      if (!found || !found.image) continue;
      context.save();
      context.beginPath();
      context.rect(toX(column * side), toY(row * side), side * ACROSS * state.scale,
        side * DOWN * state.scale);
      context.clip();
      place(found.image, up, r * SIDE * 2 ** up, c * SIDE * 2 ** up);
      context.restore();
      return;
    }
  }

  function furniture() {
    const x = state.swipe * width, swipe = $("swipe");
    swipe.style.left = `${x}px`;
    swipe.setAttribute("aria-valuenow", Math.round(100 * state.swipe));
    for (const side of ["left", "right"]) {
      const name = $(`${side}-name`), one = quantity(side);
      const layer = about.layers[layerOf(state[side])];
      const suffix = layer && layer[2] >= 0 && about.polarisations.length
        ? ` ${about.polarisations[state.polarisation]}` : "";
      name.textContent = one.label + suffix;
      name.style.left = `${x}px`;
    }
    // A bar of a round length, at most 140 pixels long.
    const longest = 140 / state.scale, power = 10 ** Math.floor(Math.log10(longest));
    const length = [5, 2, 1].map((n) => n * power).find((n) => n <= longest) || power;
    const scale = $("scale");
    scale.querySelector("span").style.width = `${length * state.scale}px`;
    if (scale.dataset.length !== String(length)) {
      scale.dataset.length = length;
      scale.replaceChildren(length >= 1000 ? `${length / 1000} km` : `${number(length)} m`,
        scale.querySelector("span"));
    }
  }

  function compass() {
    const svg = element("svg", { width: 92, height: 62, viewBox: "0 0 92 62" });
    const arrow = (x, angle, colour, text) => {
      svg.append(element("g", { transform: `translate(${x},24) rotate(${angle})` },
        element("path", { d: "M0,-17 L5.5,0 L1.6,-1.2 L1.6,16 L-1.6,16 L-1.6,-1.2 L-5.5,0 Z",
          fill: colour })));
      svg.append(element("text", { x, y: 56, "text-anchor": "middle", "font-size": 11,
        "font-family": "system-ui, sans-serif", fill: "#1c1f23" }, text));
    };
    arrow(22, -about.north, "#1c1f23", "north");
    const look = about.looks[Math.min(state.time, about.looks.length - 1)];
    if (look !== undefined) arrow(66, look - about.north, "#d55e00", "look");
    else { svg.setAttribute("viewBox", "0 0 44 62"); svg.setAttribute("width", 44); }
    $("compass").replaceChildren(svg);
  }

  // Legends.

  function legends() {
    const shown = [...new Set([state.left, state.right])];
    const decibels = shown.some((index) => about.quantities[index].kind === "db");
    $("stretch").hidden = !decibels;
    const boxes = [];
    for (const index of shown) {
      const one = about.quantities[index];
      if (one.kind === "db") continue;
      const box = element("div", { class: "legend" }, element("h2", {}, one.label));
      if (one.kind === "class") {
        const list = element("ul");
        for (const [, label, colour] of one.classes) {
          const swatch = element("span", { class: "swatch" });
          swatch.style.background = colour;
          list.append(element("li", {}, swatch, label));
        }
        box.append(list);
      } else {
        const [low, high] = limitsOf(index), digits = decimals(high - low);
        const bar = element("canvas", { width: 256, height: 1 });
        fillBar(bar, one.palette);
        const unit = one.unit ? ` ${one.unit}` : "";
        box.append(element("div", { class: "bar" }, bar), element("div", { class: "ticks" },
          ...[0, 0.5, 1].map((part) =>
            element("span", {}, `${number(low + part * (high - low), digits)}${unit}`))));
      }
      if (one.note && one.note !== one.label) box.append(element("p", {}, one.note));
      boxes.push(box);
    }
    const none = element("span", { class: "swatch" });
    none.style.background = "repeating-linear-gradient(45deg, #c9ccd0 0 3px, #a9aeb5 3px 6px)";
    boxes.push(element("div", { class: "legend" }, element("ul", {}, element("li", {}, none,
      "no data"))));
    $("legends").replaceChildren(...boxes);
  }

  function fillBar(bar, palette) {
    const context = bar.getContext("2d"), data = context.createImageData(256, 1);
    for (let i = 0; i < 256; i++) {
      data.data.set(palettes[palette].subarray(3 * i, 3 * i + 3), 4 * i);
      data.data[4 * i + 3] = 255;
    }
    context.putImageData(data, 0, 0);
  }

  function showStretch() {
    const [low, high] = state.stretch;
    $("low").value = low;
    $("high").value = high;
    $("low-slide").value = low;
    $("high-slide").value = high;
  }

  function setStretch(low, high) {
    if (!Number.isFinite(low) || !Number.isFinite(high) || high - low < 0.5) return showStretch();
    state.stretch = [low, high];
    state.automatic = false;
    showStretch();
    redraw();
  }

  async function prepareLimits() {
    document.body.dataset.ready = "false";
    for (const index of new Set([state.left, state.right])) {
      const layer = layerOf(index), one = about.quantities[index];
      if (layer < 0 || one.kind === "class") continue;
      if (!state.limits.has(layer)) {
        waiting++;
        try {
          state.limits.set(layer, await source.limits(layer));
        } finally { waiting--; }
      }
      if (one.kind === "db" && state.automatic) {
        state.stretch = state.limits.get(layer);
        const [low, high] = state.stretch;
        for (const id of ["low-slide", "high-slide"]) {
          $(id).min = low - 15;
          $(id).max = high + 15;
        }
        showStretch();
      }
    }
    legends();
    redraw();
  }

  // Places that share pixels.

  function report(text) {
    $("answer").replaceChildren(element("p", { class: "problem" }, text));
  }

  let question = 0;

  async function ask(row, column) {
    const own = ++question;
    $("hint").hidden = true;
    $("answer").replaceChildren(element("p", { class: "wait" },
      "Looking along the line of sight … (the first time may take a minute)"));
    document.body.dataset.asking = "true";
    let answer;
    try {
      answer = await source.places(row, column);
    } catch (error) {
      answer = { row, column, problem: `The places cannot be found: ${error.message}` };
    }
    if (own !== question) return; // another place was clicked
    state.answer = { ...answer, places: cluster(answer) };
    show(state.answer);
    $("place").scrollIntoView({ block: "nearest" });
    drawPlaces();
    document.body.dataset.asking = "false";
  }

  function cluster(answer) {
    // The clicked cell and its neighbours are one place, which comes first; of the others, cells
    // that touch make one place.
    const cells = answer.cells || [], byKey = new Map(), places = [], seen = new Set();
    cells.forEach((cell) => byKey.set(`${cell[0]},${cell[1]}`, cell));
    const near = cells.filter((cell) => Math.abs(cell[0] - answer.row) <= 1
      && Math.abs(cell[1] - answer.column) <= 1);
    if (near.length) places.push(summary(near, answer));
    near.forEach((cell) => seen.add(cell));
    for (const cell of cells) {
      if (seen.has(cell)) continue;
      const members = [], queue = [cell];
      seen.add(cell);
      while (queue.length) {
        const one = queue.pop();
        members.push(one);
        for (let r = -1; r <= 1; r++) {
          for (let c = -1; c <= 1; c++) {
            const next = byKey.get(`${one[0] + r},${one[1] + c}`);
            if (next && !seen.has(next)) { seen.add(next); queue.push(next); }
          }
        }
      }
      places.push(summary(members, answer));
    }
    const weight = (one) => Math.max(one.area, one.rcs || 0);
    places.sort((one, two) => two.here - one.here || weight(two) - weight(one));
    places.forEach((one, index) => {
      // What is small has no letter, and is listed together.
      const named = one.here || (weight(one) >= 0.005 && index < 20);
      one.letter = named ? String.fromCharCode(65 + index) : "";
      one.colour = named ? COLOURS[Math.min(index, COLOURS.length - 1)] : "#808080";
    });
    return places;
  }

  function summary(members, answer) {
    let area = 0, rcs = 0, row = 0, column = 0, height = 0, weight = 0;
    for (const [r, c, a, b, h] of members) {
      const w = Math.max(a, b || 0);
      area += a;
      rcs += b || 0;
      row += w * r;
      column += w * c;
      height += w * (h || 0);
      weight += w;
    }
    const here = members.some(([r, c]) => r === answer.row && c === answer.column) ? 1 : 0;
    return { members, area, rcs: members[0][3] === null ? null : rcs, here,
      row: here ? answer.row : row / weight, column: here ? answer.column : column / weight,
      height: here ? answer.height : height / weight };
  }

  function offset(place, answer) {
    // Metres away from the radar (negative: towards it), and metres on the ground.
    const down = (place.row - answer.row) * DOWN, across = (place.column - answer.column) * ACROSS;
    const angle = (answer.azimuth - about.north) * Math.PI / 180;
    return [across * Math.sin(angle) - down * Math.cos(angle), Math.hypot(down, across)];
  }

  function badge(place) {
    const made = element("span", { class: "badge" }, place.letter);
    made.style.background = place.colour;
    return made;
  }

  function show(answer) {
    const parts = [];
    const [longitude, latitude] = degrees(answer.row, answer.column);
    const facts = [`${number(latitude, 5)}°, ${number(longitude, 5)}°`];
    if (answer.height !== undefined && answer.height !== null) {
      facts.push(`${number(answer.height)} m`);
    }
    parts.push(element("p", {}, facts.join(" · ")));
    if (answer.line !== undefined) {
      const angle = answer.incidence === undefined ? ""
        : ` · incidence ${number(answer.incidence, 1)}°`;
      parts.push(element("p", { class: "wait" }, `line ${number(answer.line, 1)}, sample `
        + `${number(answer.sample, 1)}${angle}`));
    }
    if (answer.problem) {
      parts.push(element("p", { class: "problem" }, answer.problem));
      $("answer").replaceChildren(...parts);
      return;
    }
    const rcs = answer.places.some((one) => one.rcs !== null);
    const head = ["place", "distance", "height", "share of area", ...(rcs ? ["share of RCS"] : [])];
    const body = element("tbody");
    for (const one of answer.places.filter((place) => place.letter)) {
      const [along, distance] = offset(one, answer);
      const where = one.here ? "here" : metres(distance) + (along < 0 ? " nearer" : " farther");
      const rise = one.here ? "" : `${one.height >= answer.height ? "+" : ""}`
        + `${number(one.height - answer.height)} m`;
      body.append(element("tr", {}, element("td", {}, badge(one),
        one.here ? "this place" : `${one.members.length} cell${one.members.length > 1 ? "s" : ""}`),
      element("td", {}, where), element("td", {}, rise), element("td", {}, percent(one.area)),
      ...(rcs ? [element("td", {}, percent(one.rcs))] : [])));
    }
    const own = answer.cells.find((cell) => cell[0] === answer.row && cell[1] === answer.column);
    if (own) {
      body.firstChild.after(element("tr", { class: "part" }, element("td", {}, "cell itself"),
        element("td"), element("td"), element("td", {}, percent(own[2])),
        ...(rcs ? [element("td", {}, percent(own[3]))] : [])));
    }
    const small = answer.places.filter((place) => !place.letter);
    if (small.length) {
      const sum = (name) => small.reduce((total, one) => total + one[name], 0);
      body.append(element("tr", { class: "part" }, element("td", {}, "others"), element("td"),
        element("td"), element("td", {}, percent(sum("area"))),
        ...(rcs ? [element("td", {}, percent(sum("rcs")))] : [])));
    }
    const [area, brightness] = answer.outside || [0, 0];
    if (Math.max(area, brightness) >= 0.005) {
      body.append(element("tr", {}, element("td", {}, "elsewhere"), element("td"), element("td"),
        element("td", {}, percent(area)),
        ...(rcs ? [element("td", {}, percent(brightness))] : [])));
    }
    parts.push(element("table", {}, element("thead", {}, element("tr", {},
      ...head.map((text) => element("th", {}, text)))), body));
    if (answer.profile && answer.profile.length > 1) parts.push(profile(answer));
    const closer = element("button", { type: "button", id: "to-places" }, "Zoom to these places");
    closer.addEventListener("click", () => zoomTo(answer));
    parts.push(closer);
    const alone = answer.places.filter((place) => place.letter).length === 1;
    parts.push(element("p", { class: "wait" }, alone
      ? "No other place shares these pixels. Neighbours share those at the edges of the cell."
      : "“Nearer” and “farther” are as seen from the radar. Share of area: what each place "
        + "contributes if all scatter alike; share of RCS: with the reconstructed γ⁰."));
    $("answer").replaceChildren(...parts);
  }

  function zoomTo(answer) {
    const rows = answer.cells.map((cell) => cell[0]), columns = answer.cells.map((cell) => cell[1]);
    const [top, bottom] = [Math.min(...rows), Math.max(...rows) + 1];
    const [left, right] = [Math.min(...columns), Math.max(...columns) + 1];
    state.row = (top + bottom) / 2;
    state.column = (left + right) / 2;
    state.scale = Math.min(0.6 * width / ((right - left) * ACROSS),
      0.6 * height / ((bottom - top) * DOWN), 40 / Math.min(DOWN, ACROSS));
    redraw();
  }

  function profile(answer) {
    // Terrain along the line of sight. Places at one slant range lie where it meets the dashed
    // line: d metres farther away and d tan(incidence) metres higher.
    const W = 316, H = 178, left = 46, bottom = 30, top = 10, right = 8;
    const slope = Math.tan(answer.incidence * Math.PI / 180);
    const far = answer.places.map((one) => offset(one, answer)[0]);
    const reach = Math.max(600, 1.4 * Math.max(...far.map(Math.abs)), 20 * ACROSS);
    const kept = answer.profile.filter(([d]) => Math.abs(d) <= reach);
    if (kept.length < 2) return "";
    const d0 = kept[0][0], d1 = kept[kept.length - 1][0];
    let low = Math.min(...kept.map((p) => p[1])), high = Math.max(...kept.map((p) => p[1]));
    const pad = 0.08 * (high - low) + 10;
    low -= pad;
    high += pad;
    const x = (d) => left + (W - left - right) * (d - d0) / (d1 - d0);
    const y = (h) => top + (H - top - bottom) * (high - h) / (high - low);
    const svg = element("svg", { id: "profile", viewBox: `0 0 ${W} ${H}`, role: "img",
      "aria-label": "Terrain along the line of sight" });
    const line = kept.map(([d, h]) => `${x(d).toFixed(1)},${y(h).toFixed(1)}`).join(" ");
    svg.append(element("path", { d: `M${x(d0)},${H - bottom} L${line.replaceAll(" ", " L")} `
      + `L${x(d1)},${H - bottom} Z`, fill: "#e4e0d6" }));
    svg.append(element("polyline", { points: line, fill: "none", stroke: "#6b5f4b",
      "stroke-width": 1.5 }));
    // The part of the line of equal range within the frame.
    const h0 = answer.height, ends = [d0, d1].map((d) => Math.max((low - h0) / slope,
      Math.min((high - h0) / slope, d)));
    svg.append(element("line", { x1: x(ends[0]), y1: y(h0 + ends[0] * slope), x2: x(ends[1]),
      y2: y(h0 + ends[1] * slope), stroke: "#d55e00", "stroke-width": 1.5,
      "stroke-dasharray": "5 3" }));
    for (const one of answer.places.filter((place) => place.letter).reverse()) {
      const px = x(offset(one, answer)[0]), py = y(one.height);
      if (!(px >= left - 1 && px <= W - right + 1)) continue;
      svg.append(element("circle", { cx: px, cy: py, r: 8, fill: one.colour, stroke: "#fff",
        "stroke-width": 1.5 }));
      svg.append(element("text", { class: "mark", x: px, y: py }, one.letter));
    }
    for (const h of [low + pad, high - pad]) {
      svg.append(element("text", { x: left - 5, y: y(h), "text-anchor": "end",
        "dominant-baseline": "central" }, `${number(h)} m`));
    }
    svg.append(element("text", { x: left, y: H - bottom + 14 }, "◂ radar"),
      element("text", { x: W - right, y: H - bottom + 14, "text-anchor": "end" },
        `${metres(d1 - d0)} across`),
      element("text", { x: left, y: H - 2, fill: "#d55e00", style: "fill:#b34f00" },
        "– – same distance from the radar"));
    return svg;
  }

  function drawPlaces() {
    const group = $("places"), answer = state.answer;
    group.replaceChildren();
    if (!answer) return;
    const cells = element("g", { id: "cells" });
    const largest = Math.max(...answer.places.flatMap((one) =>
      one.members.map((cell) => Math.max(cell[2], cell[3] || 0))), 1e-9);
    for (const one of answer.places) {
      for (const [r, c, area, rcs] of one.members) {
        const share = Math.max(area, rcs || 0) / largest;
        cells.append(element("rect", { x: c, y: r, width: 1, height: 1, fill: one.colour,
          "fill-opacity": (0.15 + 0.85 * Math.sqrt(share)).toFixed(3) }));
      }
    }
    group.append(cells, element("g", { id: "labels" }));
    placeOverlay();
  }

  function placeOverlay() {
    const answer = state.answer, cells = $("cells");
    if (!answer || !cells) return;
    const sx = ACROSS * state.scale, sy = DOWN * state.scale;
    cells.setAttribute("transform", `matrix(${sx} 0 0 ${sy} ${toX(0)} ${toY(0)})`);
    const labels = $("labels"), parts = [];
    const here = [toX(answer.column + 0.5), toY(answer.row + 0.5)];
    const others = answer.places.filter((one) => !one.here && one.letter);
    for (const one of others) {
      const there = [toX(one.column + 0.5), toY(one.row + 0.5)];
      for (const [colour, size] of [["#000", 3.5], ["#fff", 1.5]]) {
        parts.push(element("line", { x1: here[0], y1: here[1], x2: there[0], y2: there[1],
          stroke: colour, "stroke-width": size, "stroke-opacity": 0.75,
          "stroke-dasharray": colour === "#fff" ? "5 4" : "none" }));
      }
    }
    for (const size of [5, 2.5]) {
      parts.push(element("rect", { x: here[0] - Math.max(sx, 9) / 2,
        y: here[1] - Math.max(sy, 9) / 2, width: Math.max(sx, 9), height: Math.max(sy, 9),
        fill: "none", stroke: size > 3 ? "#000" : "#fff", "stroke-width": size }));
    }
    for (const one of [...others, ...answer.places.filter((place) => place.here)].reverse()) {
      // Beside the cells, so that they stay visible.
      const x = toX(one.column + 0.5) + 0.5 * sx + 15, y = toY(one.row + 0.5) - 0.5 * sy - 15;
      parts.push(element("circle", { cx: x, cy: y, r: 11, fill: one.colour, stroke: "#fff",
        "stroke-width": 2 }), element("text", { x, y }, one.letter));
    }
    labels.replaceChildren(...parts);
  }

  // The cursor.

  function degrees(row, column) {
    const n = about.nodes, v = Math.max(0, Math.min(1, row / (ROWS - 1))) * (n - 1);
    const u = Math.max(0, Math.min(1, column / (COLUMNS - 1))) * (n - 1);
    const i = Math.min(n - 2, Math.floor(v)), j = Math.min(n - 2, Math.floor(u));
    return ["longitude", "latitude"].map((name) => {
      const at = (a, b) => about[name][(i + a) * n + j + b];
      return (1 - (v - i)) * ((1 - (u - j)) * at(0, 0) + (u - j) * at(0, 1))
        + (v - i) * ((1 - (u - j)) * at(1, 0) + (u - j) * at(1, 1));
    });
  }

  function valueAt(index, row, column) {
    const layer = layerOf(index);
    for (let level = 0; level < about.levels; level++) {
      const side = SIDE * 2 ** level, r = Math.floor(row / side), c = Math.floor(column / side);
      const found = tiles.get(`${layer}/${level}/${r}/${c}`);
      if (!found || !found.values) continue;
      const step = 2 ** level;
      const value = found.values[Math.floor((row - r * side) / step) * found.width
        + Math.floor((column - c * side) / step)];
      return value;
    }
    return undefined;
  }

  function valueText(index, row, column) {
    const one = about.quantities[index], value = valueAt(index, row, column);
    if (value === undefined) return "…";
    if (Number.isNaN(value)) return "no data";
    if (one.kind === "class") {
      const found = one.classes.find(([code]) => code === Math.round(value));
      return found ? found[1] : String(Math.round(value));
    }
    const [low, high] = limitsOf(index);
    return `${number(value, decimals(high - low) + 1)}${one.unit ? ` ${one.unit}` : ""}`;
  }

  function showCursor(x, y) {
    cursor = [x, y];
    const row = Math.floor(toRow(y)), column = Math.floor(toColumn(x));
    if (row < 0 || column < 0 || row >= ROWS || column >= COLUMNS) {
      $("cursor").replaceChildren();
      return;
    }
    const [longitude, latitude] = degrees(row, column);
    const east = about.x[0] + column * about.x[1], north = about.y[0] + row * about.y[1];
    const digits = Math.abs(about.x[1]) < 0.1 ? 5 : 0;
    const parts = [`${number(latitude, 5)}°, ${number(longitude, 5)}°`];
    if (digits === 0) parts.push(`x ${number(east)}, y ${number(north)}`);
    const lines = [element("div", {}, parts.join(" · "))];
    for (const index of new Set([state.left, state.right])) {
      lines.push(element("div", {}, `${about.quantities[index].label}: `,
        element("b", {}, valueText(index, row, column))));
    }
    $("cursor").replaceChildren(...lines);
  }

  // Controls.

  function resize() {
    const box = $("map").getBoundingClientRect();
    width = Math.max(box.width, 1);
    height = Math.max(box.height, 1);
    ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    redraw();
  }

  function showWhole() {
    state.scale = 0.96 * Math.min(width / (COLUMNS * ACROSS), height / (ROWS * DOWN));
    state.row = ROWS / 2;
    state.column = COLUMNS / 2;
    redraw();
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    const row = toRow(y), column = toColumn(x);
    const least = 0.3 * Math.min(width / (COLUMNS * ACROSS), height / (ROWS * DOWN));
    state.scale = Math.max(least, Math.min(60 / Math.min(DOWN, ACROSS), state.scale * factor));
    state.row = row - (y - height / 2) / (DOWN * state.scale);
    state.column = column - (x - width / 2) / (ACROSS * state.scale);
    redraw();
  }

  function pan(x, y) {
    state.column = Math.max(0, Math.min(COLUMNS, state.column - x / (ACROSS * state.scale)));
    state.row = Math.max(0, Math.min(ROWS, state.row - y / (DOWN * state.scale)));
    redraw();
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.offsetX, y: event.offsetY, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    showCursor(event.offsetX, event.offsetY);
    if (!drag) return;
    const x = event.offsetX - drag.x, y = event.offsetY - drag.y;
    if (!drag.moved && Math.hypot(x, y) < 4) return;
    canvas.classList.add("dragging");
    pan(x, y);
    drag = { x: event.offsetX, y: event.offsetY, moved: true };
  });
  canvas.addEventListener("pointerup", (event) => {
    canvas.classList.remove("dragging");
    const click = drag && !drag.moved;
    drag = null;
    if (!click) return;
    const row = Math.floor(toRow(event.offsetY)), column = Math.floor(toColumn(event.offsetX));
    if (row >= 0 && column >= 0 && row < ROWS && column < COLUMNS) ask(row, column);
  });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("pointerleave", () => {
    if (drag) return;
    cursor = null;
    $("cursor").replaceChildren();
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(2 ** (-event.deltaY * (event.deltaMode ? 0.05 : 0.0025)), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60],
      ArrowDown: [0, -60] };
    if (moves[event.key]) pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "Enter") ask(Math.floor(state.row), Math.floor(state.column));
    else return;
    event.preventDefault();
  });
  $("closer").addEventListener("click", () => zoom(1.6));
  $("farther").addEventListener("click", () => zoom(1 / 1.6));
  $("whole").addEventListener("click", showWhole);

  const swipe = $("swipe");
  swipe.addEventListener("pointerdown", (event) => {
    swipe.setPointerCapture(event.pointerId);
    event.preventDefault();
    swipe.focus();
  });
  swipe.addEventListener("pointermove", (event) => {
    if (!swipe.hasPointerCapture(event.pointerId)) return;
    const box = $("map").getBoundingClientRect();
    state.swipe = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    redraw();
  });
  swipe.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 };
    if (!(event.key in steps)) return;
    state.swipe = Math.max(0, Math.min(1, state.swipe + steps[event.key]));
    event.preventDefault();
    redraw();
  });

  for (const side of ["left", "right"]) {
    about.quantities.forEach((one, index) => $(side).append(
      element("option", { value: index }, one.label)));
    $(side).addEventListener("change", () => {
      state[side] = Number($(side).value);
      prepareLimits();
    });
  }
  for (const [name, labels] of [["polarisation", about.polarisations], ["time", about.times]]) {
    labels.forEach((label, index) => $(name).append(element("option", { value: index }, label)));
    $(`${name}-row`).hidden = labels.length < 2;
    $(`${name}-row`).style.display = labels.length < 2 ? "none" : "";
    $(name).addEventListener("change", () => {
      state[name] = Number($(name).value);
      compass();
      prepareLimits();
      if (state.answer) ask(state.answer.row, state.answer.column);
    });
  }
  $("relief").checked = state.relief;
  $("relief").addEventListener("change", () => { state.relief = $("relief").checked; redraw(); });
  if (reliefIndex < 0) $("relief-row").style.display = "none";
  $("low").addEventListener("change", () => setStretch(+$("low").value, state.stretch[1]));
  $("high").addEventListener("change", () => setStretch(state.stretch[0], +$("high").value));
  $("low-slide").addEventListener("input", () => setStretch(
    Math.min(+$("low-slide").value, state.stretch[1] - 1), state.stretch[1]));
  $("high-slide").addEventListener("input", () => setStretch(
    state.stretch[0], Math.max(+$("high-slide").value, state.stretch[0] + 1)));
  $("auto").addEventListener("click", () => { state.automatic = true; prepareLimits(); });

  // Begin.

  const find = (...names) => names.map((name) => about.quantities.findIndex(
    (one) => one.name === name)).find((index) => index >= 0) ?? 0;
  state.left = find("sigma0_geocoded", "gamma0", "sigma0", "mask");
  state.right = find("gamma0", "sigma0", "fold_count", "mask");
  $("left").value = state.left;
  $("right").value = state.right;
  document.title = `${about.name} · sarheight`;
  $("title").textContent = about.name;
  $("about").textContent = [about.simulated ? "simulated" : "", about.acquisition[0] || "",
    about.times.length === 1 ? about.times[0] : "", `${ROWS} × ${COLUMNS} cells of `
    + `${number(DOWN, DOWN < 10 ? 1 : 0)} × ${number(ACROSS, ACROSS < 10 ? 1 : 0)} m`, about.crs]
    .filter(Boolean).join(" · ");
  if (about.problem) {
    $("hint").textContent = about.problem;
  }
  fillBar($("bar"), "grey");
  window.addEventListener("resize", resize);
  new ResizeObserver(resize).observe($("map"));
  resize();
  showWhole();
  compass();
  prepareLimits();
  window.sarheight = { state, toX, toY, ask, shown: () => waiting === 0 };
})();
