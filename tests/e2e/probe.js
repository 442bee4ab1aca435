// Looks at the page as it is laid out and writes down what is wrong with it, for the test to read.
addEventListener("load", () => {
  const wrong = [];
  const name = (one) => `${one.tagName.toLowerCase()}#${one.id}.${one.getAttribute("class") || ""} "${(one.textContent || "").trim().slice(0, 40)}"`;
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) wrong.push(`the page is ${root.scrollWidth} wide in ${innerWidth}`);
  const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => {
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  for (const one of document.querySelectorAll("details")) one.open = true;
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const one = node.parentElement;
    if (!node.data.trim() || one.closest("script, style, svg")) continue;
    texts += 1;
    const style = getComputedStyle(one);
    const [high, low] = [light(parse(style.color)), light(behind(one))].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(2)}: ${name(one)}`);
    if (parseFloat(style.fontSize) < 12) wrong.push(`letters of ${style.fontSize}: ${name(one)}`);
    const box = one.getBoundingClientRect();
    if (box.right > innerWidth + 1 && !one.closest(".scroll, .skip")) wrong.push(`beyond the edge: ${name(one)}`);
  }
  for (const one of document.querySelectorAll("a, button, summary, [tabindex]")) {
    if (!(one.textContent.trim() || one.getAttribute("aria-label"))) wrong.push(`nameless: ${name(one)}`);
    if (one.tabIndex > 0) wrong.push(`out of turn for the keyboard: ${name(one)}`);
    one.focus({ focusVisible: true });
    const ring = getComputedStyle(one);
    if (document.activeElement !== one) wrong.push(`out of reach of the keyboard: ${name(one)}`);
    if (ring.outlineStyle === "none" || parseFloat(ring.outlineWidth) < 2) wrong.push(`no sign of the keyboard: ${name(one)}`);
    const { left, width, height } = one.getBoundingClientRect();
    if (left < 0 || width < 1 || height < 1) wrong.push(`not seen though the keyboard is there: ${name(one)}`);
    one.blur();
  }
  for (const one of document.querySelectorAll(".scroll")) {
    if (one.scrollWidth > one.clientWidth + 1) wrong.push(`${one.scrollWidth} wide in ${one.clientWidth}: ${name(one)}`);
  }
  for (const one of document.querySelectorAll("img:not([alt]), th:not([scope]), [style], [onclick]")) {
    wrong.push(`not as it should be: ${name(one)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  ids.filter((id, place) => ids.indexOf(id) !== place).forEach((id) => wrong.push(`twice: #${id}`));
  for (const one of document.querySelectorAll("[aria-labelledby]")) {
    for (const id of one.getAttribute("aria-labelledby").split(" ")) {
      if (!document.getElementById(id)) wrong.push(`label of nothing: ${id}`);
    }
  }
  // As a reader finds it.
  for (const one of document.querySelectorAll("details")) one.open = false;
  scrollTo(0, 0);
  const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const said = document.createElement("pre");
  said.id = "probed";
  said.hidden = true;
  said.textContent = JSON.stringify({ width: innerWidth, scheme, texts, wrong });
  document.body.append(said);
});
