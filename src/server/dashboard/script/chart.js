// Bars for the sixty minutes of the last hour, drawn anew as they or the width change.

class Chart {
  /** `series` from the bottom up: a name, and the class that colours it. */
  constructor(figure, title, series, words) {
    Object.assign(this, { title, series, words, data: null, at: null });
    const legend = series.map(({ name, tone }) => el("span", { class: tone }, name));
    this.readout = el("span", { class: "readout" });
    this.svg = drawn("svg", { role: "img" });
    figure.append(
      el("figcaption", {}, el("strong", {}, title), el("span", { class: "legend" }, ...legend), this.readout),
      this.svg,
    );
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
  }

  /** `values` has an array for each series; `minute` is when the last of them began. */
  update(values, minute) {
    this.data = { values, minute };
    this.draw();
  }

  point(x) {
    this.at = x;
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!this.data || !width) return;
    const { values, minute } = this.data;
    const count = values[0].length;
    const [left, right, top, bottom] = [38, 2, 8, 150];
    const step = (width - left - right) / count;
    const sums = values[0].map((_, index) => values.reduce((sum, of) => sum + of[index], 0));
    const most = roundUp(Math.max(...sums, 4));
    const height = (value) => ((bottom - top) * value) / most;
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const y = bottom - (bottom - top) * share;
      parts.push(drawn("line", { class: "rule", x1: left, x2: width - right, y1: y, y2: y }));
      parts.push(drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, brief(most * share)));
    }
    for (const back of [60, 45, 30, 15, 1]) {
      const middle = left + step * (count - back + 0.5);
      const anchor = back === 1 ? "end" : back === 60 ? "start" : "middle";
      const x = back === 1 ? width - right : back === 60 ? left : middle;
      const words = back === 1 ? "now" : minuteOf(minute - (back - 1) * 60000);
      parts.push(drawn("text", { x, y: bottom + 16, "text-anchor": anchor }, words));
    }
    for (let index = 0; index < count; index += 1) {
      let y = bottom;
      const x = left + step * index + Math.min(1, step / 6);
      for (const [place, of] of values.entries()) {
        if (!of[index]) continue;
        // What is there shows, however little it is.
        const tall = Math.max(1.5, height(of[index]));
        y -= tall;
        parts.push(drawn("rect", { class: this.series[place].tone, x, y, width: Math.max(1, step - Math.min(2, step / 3)), height: tall }));
      }
    }
    const index = this.at === null ? -1 : Math.floor((this.at - left) / step);
    const isOn = index >= 0 && index < count;
    if (isOn) parts.push(drawn("rect", { class: "here", x: left + step * index, y: top, width: step, height: bottom - top }));
    this.svg.replaceChildren(...parts);
    const totals = values.map((of) => of.reduce((sum, value) => sum + value, 0));
    say(this.readout, isOn
      ? `${minuteOf(minute - (count - 1 - index) * 60000)}: ${this.words(values.map((of) => of[index]))}`
      : this.words(totals));
    this.svg.setAttribute("aria-label", `${this.title}, last hour: ${this.words(totals)}; at most ${brief(Math.max(...sums))} in a minute`);
  }
}

/** The next of 1, 2, 5, 10, 20, 50, … that halves evenly. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((part) => part * power).find((round) => round >= value);
}

const requestsChart = new Chart(
  $("requests-chart"),
  "Requests a minute",
  [{ name: "Served", tone: "first" }, { name: "Failed", tone: "bad" }],
  ([served, failed]) => `${whole(served)} served, ${whole(failed)} failed`,
);

const tokensChart = new Chart(
  $("tokens-chart"),
  "Tokens a minute",
  [{ name: "Input", tone: "first" }, { name: "Output", tone: "second" }],
  ([input, output]) => `${brief(input)} in, ${brief(output)} out`,
);

let traffic = null;

function showTraffic(told) {
  traffic = told;
  const served = told.requests.map((count, index) => count - told.failures[index]);
  requestsChart.update([served, told.failures], told.minute);
  tokensChart.update([told.input, told.output], told.minute);
  showFigures();
}

