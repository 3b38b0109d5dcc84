// Runs inside the page: draws each figure from the JSON beside it and says so in words where that fails.
"use strict";
for (const place of document.querySelectorAll(".plot")) {
  try {
    const figure = JSON.parse(place.nextElementSibling.textContent);
    if (!Array.isArray(figure.data) || figure.data.length === 0) throw new Error("it has no data");
    const config = Object.assign({}, figure.config, { responsive: true, displaylogo: false });
    Plotly.newPlot(place, figure.data, figure.layout, config).catch((e) => failed(place, e));
  } catch (e) {
    failed(place, e);
  }
}
function failed(place, error) {
  place.className = "failed-figure";
  place.textContent = `This figure could not be drawn (${error.message}). Its numbers: ${
    place.getAttribute("aria-label")
  }`;
}
const button = document.getElementById("show-code");
if (button) {
  button.addEventListener("click", () => {
    const all = [...document.querySelectorAll("details.code")], open = all.some((d) => !d.open);
    for (const d of all) d.open = open;
    button.textContent = open ? "Hide the code" : "Show the code";
  });
}
globalThis.addEventListener("beforeprint", () => {
  for (const place of document.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(place);
});
