"""Markup and style of the size report's page; `@name@` is where a part goes."""

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>@title@: size report</title>
<style>
@style@
</style>
<header>
<h1>@title@</h1>
<dl>
<div><dt>root image</dt><dd>@image@</dd></div>
<div><dt>unpacked</dt><dd>@unpacked@</dd></div>
<div><dt>files</dt><dd>@files@</dd></div>
<div><dt>packages</dt><dd>@packages@</dd></div>
</dl>
<p>Largest: @biggest@. Areas and sizes are shares of the compressed image, estimated for each file;
point at a rectangle to see what it is.</p>
</header>
<main>
<input type="radio" name="view" id="package" checked><label for="package">by package</label>
<input type="radio" name="view" id="path"><label for="path">by path</label>
<ul class="legend" aria-label="colours">@legend@</ul>
<div class="map" id="map-package" role="img" aria-label="Treemap by package; the table below has the same figures">@by_package@</div>
<div class="map" id="map-path" role="img" aria-label="Treemap by path; the table below has the same figures by package">@by_path@</div>
<h2>Kinds of files</h2>
<table>
<thead><tr><th>kind</th><th>files</th><th>in the image</th><th>share</th><th>unpacked</th></tr></thead>
<tbody>@kinds@</tbody>
</table>
<h2>Packages</h2>
<table>
<thead><tr><th>package</th><th>version</th><th>files</th><th>in the image</th><th>share</th><th>unpacked</th></tr></thead>
<tbody>@rows@</tbody>
</table>
</main>
</html>
"""

STYLE = """\
:root {
  --page: #fbfbfa; --text: #1c1e21; --quiet: #5c6470; --line: #d9dce1; --head: #eef0f2;
  --program: #f2b8a2; --library: #a9c8ec; --module: #c7b6e8; --python: #f0d98c;
  --configuration: #a8dcc0; --data: #d5d8dd; --small: #e6e8eb; --bar: #3b6fb5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16181c; --text: #e7e9ec; --quiet: #a0a8b4; --line: #343941; --head: #23272e;
    --program: #8f4a34; --library: #2f5c8f; --module: #5c4690; --python: #7a6320;
    --configuration: #2d6b4a; --data: #4a505a; --small: #363b43; --bar: #6ea3e6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1400px; padding: 1rem 1.25rem 3rem; background: var(--page);
  color: var(--text); font: 15px/1.45 system-ui, sans-serif;
}
h1 { font-size: 1.5rem; margin: .4rem 0 .8rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { color: var(--quiet); margin: .6rem 0; }
dl { display: flex; flex-wrap: wrap; gap: .6rem 2.5rem; margin: 0; }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
main > input { position: absolute; opacity: 0; }
main > label {
  display: inline-block; padding: .25rem .8rem; border: 1px solid var(--line); cursor: pointer;
  border-radius: 6px; margin: .3rem .3rem .3rem 0;
}
main > input:checked + label { background: var(--text); color: var(--page); }
main > input:focus-visible + label { outline: 3px solid var(--bar); }
.legend { display: inline-flex; flex-wrap: wrap; gap: .2rem 1rem; list-style: none; margin: 0 0 0 .7rem; padding: 0; font-size: .85rem; }
.legend li { background: none !important; }
.legend li::before, .key { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px; vertical-align: -1px; }
.map { position: relative; width: 100%; aspect-ratio: 16 / 9; min-height: 420px; margin-top: .5rem; display: none; }
#package:checked ~ #map-package, #path:checked ~ #map-path { display: block; }
.group { position: absolute; overflow: hidden; background: var(--head); border: 1px solid var(--page); }
.group > span {
  position: absolute; inset: 0 0 auto; height: 17px; padding: 0 4px; overflow: hidden;
  display: flex; gap: 4px; font-size: 11px; line-height: 17px; white-space: nowrap;
}
.group b { overflow: hidden; text-overflow: ellipsis; }
.files { position: absolute; inset: 17px 0 0; }
.tight > .files { inset: 0; }
.files i {
  position: absolute; overflow: hidden; padding: 0 3px; border: 1px solid var(--head);
  font: 10px/14px system-ui, sans-serif; white-space: nowrap; text-overflow: ellipsis;
}
.files i:hover { border-color: var(--text); }
.program, .legend .program::before { background: var(--program); }
.library, .legend .library::before { background: var(--library); }
.module, .legend .module::before { background: var(--module); }
.python, .legend .python::before { background: var(--python); }
.configuration, .legend .configuration::before { background: var(--configuration); }
.data, .legend .data::before { background: var(--data); }
.small { background: var(--small); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--quiet); font-weight: 500; font-size: .85rem; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:not(:first-child) { white-space: nowrap; }
.inner { margin: .3rem 0 .3rem 1rem; width: auto; font-size: .85rem; }
.inner td { border: 0; padding: .05rem 1rem .05rem 0; }
.bar { display: inline-block; width: 120px; height: .7em; background: var(--head); border-radius: 2px; overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--bar); }
summary { cursor: pointer; }
@media (max-width: 700px) { .bar { width: 50px; } body { padding: .5rem; } }
"""
