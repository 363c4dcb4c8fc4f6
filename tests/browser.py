"""A real browser, and what can be told of a page that is open in it."""

import shutil

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = not (BROWSER and DRIVER)
WHY_MISSING = "needs the programs chromium and chromedriver"

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PHONE, DESKTOP = (390, 844), (1280, 900)

LOOK = """
const root = document.documentElement, all = [...document.body.querySelectorAll('*')];
const name = e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`;
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const colours = new Map();
// Any CSS colour, also a mixed one, as red, green, blue in [0, 255] and opacity in [0, 1].
function rgba(colour) {
  if (!colours.has(colour)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    colours.set(colour, [r, g, b, a / 255]);
  }
  return colours.get(colour);
}
function background(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement)
    layers.push(rgba(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce(
    (below, [r, g, b, a]) => [r, g, b].map((c, k) => a * c + (1 - a) * below[k]), [255, 255, 255]);
}
const owning = all.filter(e => !e.closest('.skip') &&
  [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.tagName !== 'style');
const texts = owning.map(e => {
  const style = getComputedStyle(e), svg = e.closest('svg');
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  const box = e.getBoundingClientRect(), frame = svg && svg.getBoundingClientRect();
  return {
    name: name(e), svg: !!svg, size: parseFloat(style.fontSize) * scale,
    ink: rgba(svg ? style.fill : style.color), ground: background(e),
    cut: !!svg && (box.left < frame.left - 1 || box.right > frame.right + 1 ||
                   box.top < frame.top - 1 || box.bottom > frame.bottom + 1),
  };
});
return {
  width: root.scrollWidth, inner: innerWidth,
  page: rgba(getComputedStyle(document.body).backgroundColor),
  outside: all.filter(e => !e.closest('.scroll, .skip, svg') || e.matches('.scroll, svg'))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(name),
  texts,
  images: [...document.images].map(i => [i.complete && i.naturalWidth > 0, i.clientWidth]),
  requests: performance.getEntriesByType('resource').map(r => r.name)
    .filter(n => !n.startsWith('data:')),
  headings: all.filter(e => /^H[1-6]$/.test(e.tagName)).map(e => +e.tagName[1]),
  sections: [...document.querySelectorAll('section')].map(s => s.clientHeight),
  charts: [...document.querySelectorAll('.chart svg')].map(s => s.getBoundingClientRect().width),
  smoothed: [...document.querySelectorAll('img.enlarged')]
    .filter(i => getComputedStyle(i).imageRendering !== 'pixelated').length,
};
"""


def start(profile, *options: str):
    """Start the browser; its log of complaints is kept."""
    from selenium import webdriver

    chosen = webdriver.ChromeOptions()
    chosen.binary_location = BROWSER
    for option in (*OPTIONS, *options, f"--user-data-dir={profile}"):
        chosen.add_argument(option)
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(chosen, webdriver.ChromeService(DRIVER))


def look(browser, address, view, scheme) -> dict:
    """Open a page and tell what there is to see."""
    from selenium.webdriver.support.ui import WebDriverWait

    set_view(browser, view, scheme)
    browser.get(address)
    # On a busy machine the driver may return while an address that was open before is being read anew.
    ready = "return document.readyState === 'complete'"
    WebDriverWait(browser, 60, poll_frequency=0.02).until(lambda page: page.execute_script(ready))
    return seen_of(browser, view, scheme)


def set_view(browser, view, scheme) -> None:
    """Give the page a size and a colour scheme."""
    width, height = view
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def seen_of(browser, view, scheme) -> dict:
    """Tell what there is to see of the page that is open."""
    seen = browser.execute_script(LOOK)
    return {**seen, "asked": view[0], "scheme": scheme, "log": browser.get_log("browser")}


def luminance(colour) -> float:
    """Relative luminance, WCAG 2.2."""
    shares = [channel / 255 for channel in colour[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink, ground) -> float:
    """Contrast ratio, WCAG 2.2, of an ink that may be translucent."""
    opacity = ink[3]
    seen = [opacity * i + (1 - opacity) * g for i, g in zip(ink[:3], ground, strict=True)]
    light, dark = sorted((luminance(seen), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def faint(seen) -> dict[str, float]:
    """Texts that can hardly be told from what is behind them, with their contrast."""
    return {
        text["name"]: ratio
        for text in seen["texts"]
        # WCAG 2.2, success criterion 1.4.3, for text of any size.
        if (ratio := contrast(text["ink"], text["ground"])) < 4.5
    }
