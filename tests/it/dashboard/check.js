// What keeps people from reading or hitting something, by WCAG 2.2 AA: a list of sentences, empty if
// all is well. Contrast 1.4.3, target size 2.5.8, reflow 1.4.10.
(() => {
  const faults = [];
  const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return { rgb: [red, green, blue], alpha: alpha / 255 };
  };
  const over = (top, alpha, below) => top.map((value, at) => value * alpha + below[at] * (1 - alpha));
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((value) => channel(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const layer = read(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer.alpha === 1) break;
    }
    return layers.reduceRight((below, { rgb, alpha }) => over(rgb, alpha, below), [255, 255, 255]);
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const node = words.currentNode.parentElement;
    const text = words.currentNode.textContent.trim();
    const isDrawn = node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!text || !isDrawn || node.closest(".unseen, script, style, :disabled")) continue;
    const style = getComputedStyle(node);
    const { rgb, alpha } = read(node instanceof SVGElement ? style.fill : style.color);
    const back = behind(node);
    const [light, dark] = [luminance(over(rgb, alpha, back)), luminance(back)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (isLarge ? 3 : 4.5)) faults.push(`contrast of ${contrast.toFixed(2)}: ${text.slice(0, 60)}`);
  }
  for (const node of document.querySelectorAll("button, input, select, summary")) {
    if (!node.checkVisibility()) continue;
    const { width, height } = node.getBoundingClientRect();
    if (width < 24 || height < 24) faults.push(`too small to hit: ${node.outerHTML.slice(0, 80)} (${width}×${height})`);
  }
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) faults.push(`${scrollWidth} wide on a screen of ${clientWidth}`);
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`two of id ${id}`);
  for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]")) {
    for (const name of ["aria-labelledby", "aria-describedby", "for"]) {
      const id = node.getAttribute(name);
      if (id && !document.getElementById(id)) faults.push(`${name} of nothing: ${id}`);
    }
  }
  return faults;
})()
