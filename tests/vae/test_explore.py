"""`dl vae explore`: the networks of the page are those of PyTorch, in Python and in a browser."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlcli.display.images import save_png
from dlcli.display.page import write_page
from dlcli.engine.runs import find_run
from dlcli.engine.seed import generator
from dlcli.errors import UsageFault
from dlcli.vae.config import VaeModelConfig
from dlcli.vae.explore import explore_page, network, principal_axes, rounded
from dlcli.vae.networks import VAE, build_model
from dlcli.vae.objective import iwae_bound, kl_standard_normal, log_weights
from dlcli.vae.trained import Trained, load_trained
from tests.browser import Browser, browser, installed
from tests.vae.conftest import make_vae


def _model(shape: tuple[int, ...], likelihood: Any = "bernoulli", **given: Any) -> VAE:
    """Build an untrained network whose batch normalisations and flow are not the identity."""
    torch.manual_seed(0)
    vae = build_model(VaeModelConfig(**given), shape=shape, likelihood=likelihood)
    for module in vae.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.01, 0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    if vae.flow is not None:
        for parameter in vae.flow.parameters():
            nn.init.normal_(parameter, std=0.2)
    return vae.eval()


CONV: dict[str, Any] = {"arch": "conv", "latent_dim": 5, "channels": (3, 4, 6, 7)}
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"shape": (28, 28), "latent_dim": 1, "hidden": (11, 7)},
    "conv": {"shape": (28, 28), **CONV, "decoder_channels": (6, 5, 3)},
    "conv-20x48": {
        "shape": (20, 48), **CONV, "latent_dim": 2, "decoder_channels": (6, 5, 3), "norm": "none",
    },
    "conv-colour": {
        "shape": (17, 19, 3), **CONV, "decoder_channels": (6, 5, 3), "likelihood": "logistic",
    },
    "conv-dense": {
        "shape": (28, 28), **CONV, "channels": (3, 4), "dense": (9, 8),
        "decoder_channels": (6, 5, 3), "likelihood": "continuous-bernoulli",
    },
    "flow": {
        "shape": (9, 8), "latent_dim": 5, "hidden": (7,), "prior": "flow", "flow_layers": 5,
        "flow_hidden": 6,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_folding_batch_normalisation_changes_nothing_but_rounding(name: str) -> None:
    model = _model(**MODELS[name])
    found = rounded(model)
    assert not any(isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d) for one in found.modules())
    assert all(torch.equal(one, one.half().float()) for one in found.parameters())
    z = torch.randn(9, model.latent_dim, generator=generator(0, "z"))
    x = torch.rand(9, int(np.prod(model.shape)), generator=generator(0, "x"))
    with torch.inference_mode():
        for plain, folded in (
            (model.decode(z), found.decode(z)),
            (model.encode(x)[0], found.encode(x)[0]),
        ):
            torch.testing.assert_close(folded, plain, atol=0.02, rtol=0.01)


class _Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_network_with_an_unknown_module_is_refused() -> None:
    vae = make_vae()
    vae.encoder.layers = nn.Sequential(vae.encoder.layers, _Unknown())
    with pytest.raises(UsageFault, match="_Unknown"):
        network(rounded(vae))
    skip = _model((28, 28), **CONV, decoder_channels=(6, 5, 3), skip=True)
    with pytest.raises(UsageFault, match="feature maps"):
        network(rounded(skip))


def test_principal_axes_are_where_latents_vary_most() -> None:
    z = torch.randn(200, 4, generator=generator(0, "z")) * torch.tensor([0.1, 3.0, 0.2, 1.0])
    first, second = torch.tensor(principal_axes(z)).abs()
    torch.testing.assert_close(first, torch.eye(4, dtype=first.dtype)[1], atol=0.1, rtol=0)
    torch.testing.assert_close(second, torch.eye(4, dtype=first.dtype)[3], atol=0.1, rtol=0)
    assert principal_axes(z[:, :2]) == []


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_the_page_has_test_images_and_their_latents(trained: Trained) -> None:
    said: list[str] = []
    page = explore_page(trained, command="dl vae explore", notice=said.append)
    assert (page.images, said) == (20, [])
    tests = data_of(page.text)["tests"]
    z = np.frombuffer(base64.b64decode(tests["z"]), dtype="<f2").reshape(20, 3)
    assert np.isfinite(z).all()
    assert len(tests["labels"]) == 20
    assert base64.b64decode(tests["sheet"]).startswith(b"\x89PNG")
    again = explore_page(trained, command="dl vae explore", notice=said.append)
    assert again.text == page.text


def test_a_page_without_data_has_no_map_of_images(trained: Trained) -> None:
    data = dataclasses.replace(trained.config.data, name="mnist")
    elsewhere = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    said: list[str] = []
    page = explore_page(elsewhere, command="c", offline=True, notice=said.append)
    assert page.images == 0
    assert said[-1].endswith("The page has no test images.")
    assert data_of(page.text)["tests"] is None


# In a browser.

slow = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser(installed()) as found:
        yield found


@pytest.fixture(autouse=True)
def _data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "packaged" in request.fixturenames:
        monkeypatch.setenv("DL_DATA_DIR", str(request.getfixturevalue("real_data_dir")))


def _open(chromium: Browser, trained: Trained, path: Path, *, width: int = 1280) -> dict[str, Any]:
    page = explore_page(trained, command="dl vae explore", notice=lambda _: None)
    write_page(path, page.text, notice=print, hint="")
    chromium.open(path, width=width)
    return data_of(page.text)


def _close(found: object, wanted: Tensor, *, within: float) -> None:
    got = torch.tensor(found, dtype=torch.float64).view_as(wanted)
    torch.testing.assert_close(got, wanted.double(), atol=within, rtol=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_logits_in_the_browser_are_pytorch_s(
    chromium: Browser, trained: Trained, tmp_path: Path, name: str
) -> None:
    """Untrained networks of every form; the data set does not fit them, so there are no images."""
    model = _model(**MODELS[name])
    data = dataclasses.replace(trained.config.data, name="mnist", offline=True)
    config = dataclasses.replace(trained.config, data=data)
    _open(chromium, dataclasses.replace(trained, model=model, config=config), tmp_path / "a.html")
    _check_numbers(chromium, rounded(model))


@pytest.mark.parametrize("packaged", ["vae-conv", "vae-best", "vae-mlp"])
@pytest.mark.slow
def test_packaged_models_in_the_browser_are_pytorch_s(
    chromium: Browser, tmp_path: Path, packaged: str
) -> None:
    trained = load_trained(find_run(f"pretrained:{packaged}", kind="vae"))
    _open(chromium, trained, tmp_path / "a.html")
    _check_numbers(chromium, rounded(trained.model))
    assert (tmp_path / "a.html").stat().st_size < 5e6
    assert chromium.value("performance.getEntriesByName('first picture').length") == 1
    z = json.dumps([0.5] * trained.model.latent_dim)
    elapsed_ms = chromium.value(
        "(() => { const began = performance.now(); for (let i = 0; i < 40; i++) "
        f"dl.mean(dl.decode({z})); return performance.now() - began; }})()"
    )
    assert 40 / (elapsed_ms / 1000) > 20, "images a second"


def _check_numbers(chromium: Browser, model: VAE) -> None:
    """Hold logits of 100 latents, posteriors, means and bounds against PyTorch."""
    assert not chromium.problems
    z = torch.randn(100, model.latent_dim, generator=generator(0, "browser"))
    pixels = torch.rand(7, int(np.prod(model.shape)), generator=generator(0, "pixels"))
    x = (pixels.square() * 255).round() / 255
    with torch.inference_mode():
        logits, (mean, logvar) = model.decode(z), model.encode(x)
        shown = model.likelihood.mean(logits)
    run = "JSON.stringify({}.map((one) => Array.from({})))"
    latents = json.dumps(z.tolist())
    _close(json.loads(chromium.value(run.format(latents, "dl.decode(one)"))), logits, within=1e-3)
    means = json.loads(chromium.value(run.format(latents, "dl.mean(dl.decode(one))")))
    _close(means, shown, within=1e-3)
    images = json.dumps(x.tolist())
    for name, wanted in (("mean", mean), ("logvar", logvar)):
        found = json.loads(chromium.value(run.format(images, f"dl.encode(one).{name}")))
        _close(found, wanted, within=1e-3)
    if model.likelihood.name == "bernoulli":
        x = (x > 0.5).float()
    _check_bounds(chromium, model, x[:1])


def _check_bounds(chromium: Browser, model: VAE, x: Tensor) -> None:
    """Draw as the page does, with the noise that it took, and hold its ELBO and IWAE to ours."""
    K, D = 8, model.latent_dim
    expression = f"""(() => {{
      const x = {json.dumps(x[0].tolist())};
      const normal = dl.normals(3);
      const noise = Array.from({{ length: {K} }}, () => Array.from({{ length: {D} }}, normal));
      const drawn = dl.bounds(x, x, 3);
      let found;
      for (let k = 0; k < {K}; k++) found = drawn.next().value;
      return JSON.stringify({{ noise, found }});
    }})()"""
    read = json.loads(chromium.value(expression))
    eps = torch.tensor(read["noise"], dtype=torch.float32)[:, None]  # (K, 1, D)
    with torch.inference_mode():
        mean, logvar = model.encode(x)
        v = mean + (0.5 * logvar).exp() * eps
        z, log_det = model.latents(v)
        log_lik = model.likelihood.log_prob(model.decode_encoded(v.view(K, D)), x)[:, None]
        log_w = log_weights(log_lik, z=z, eps=eps, logvar=logvar, log_det=log_det)
        kl = kl_standard_normal(mean, logvar).sum()
        kl = kl if model.flow is None else (log_lik - log_w).mean()
        wanted = {
            "reconstruction": -log_lik.mean(),
            "kl": kl,
            "elbo": log_lik.mean() - kl,
            "iwae": iwae_bound(log_w)[0],
        }
    for name, value in wanted.items():
        assert read["found"][name] == pytest.approx(float(value), abs=1e-2, rel=1e-5), name
    assert float(eps.std()) == pytest.approx(1, abs=0.5)


def _press(chromium: Browser, *names: str) -> None:
    for name in names:
        for kind in ("keyDown", "keyUp"):
            chromium.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name)


def _mouse(chromium: Browser, selector: str, *places: tuple[float, float]) -> None:
    """Press at the first place within an element, in shares of it, and go to the others."""
    box = chromium.value(
        f"(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView({{block: "
        "'center', behavior: 'instant'}); const r = e.getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]; })()"
    )
    points = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in places]
    for number, (x, y) in enumerate(points):
        kind = "mouseMoved" if number else "mousePressed"
        chromium.ask(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
        )
    x, y = points[-1]
    chromium.ask(
        "Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1
    )


def _choose_file(chromium: Browser, path: Path) -> None:
    root = chromium.ask("DOM.getDocument")["root"]["nodeId"]
    node = chromium.ask("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    chromium.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


def _settled(chromium: Browser) -> None:
    """Wait until the page has computed and the address has been written."""
    chromium.ask(
        "Runtime.evaluate",
        expression="new Promise((done) => setTimeout(done, 700))",
        awaitPromise=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("packaged", ["vae-conv"])
def test_drawing_sliding_keyboard_and_the_back_button(
    chromium: Browser, tmp_path: Path, packaged: str
) -> None:
    trained = load_trained(find_run(f"pretrained:{packaged}", kind="vae"))
    _open(chromium, trained, tmp_path / "a.html")
    _settled(chromium)
    picture = "document.getElementById('picture').toDataURL()"
    pictures = [chromium.value(picture)]

    def changed() -> None:
        _settled(chromium)
        pictures.append(chromium.value(picture))
        assert pictures[-1] != pictures[-2]

    chromium.value("document.getElementById('sample').click()")
    changed()
    sampled = chromium.value("location.hash")
    assert "seed=1" in sampled
    slider = "document.querySelector('#sliders input')"
    chromium.value(f"{slider}.value = 3; {slider}.dispatchEvent(new Event('input'))")
    changed()
    chromium.value(
        f"{slider}.value = -3; {slider}.dispatchEvent(new Event('input'));"
        "document.getElementById('sample').click()"
    )
    changed()
    chromium.value("history.back()")
    _settled(chromium)
    assert chromium.value(f"{slider}.value") == "-3", "not what was shown before"
    chromium.value("document.getElementById('map').focus()")
    _press(chromium, "ArrowRight", "ArrowUp")
    changed()
    _mouse(chromium, "#map", (0.3, 0.3), (0.4, 0.4), (0.6, 0.5))
    changed()
    chromium.value("document.querySelectorAll('#strip button')[4].click()")
    changed()
    chromium.value("document.getElementById('keep').click()")
    _settled(chromium)
    assert chromium.value("document.querySelectorAll('#kept canvas').length") == 1
    chromium.value("history.back()")
    _settled(chromium)
    assert chromium.value("document.querySelectorAll('#kept canvas').length") == 0
    pictures.append(chromium.value(picture))
    address = chromium.value("location.hash")
    chromium.open(tmp_path / "a.html", width=390, fragment=address)
    _settled(chromium)
    assert chromium.value(picture) == pictures[-1]

    elbo = "document.getElementById('elbo-value').textContent"
    before = chromium.value(elbo)
    chromium.value("document.getElementById('clear').click()")
    _mouse(chromium, "#board", (0.3, 0.2), (0.7, 0.2), (0.45, 0.8))
    _settled(chromium)
    drawn = chromium.value(elbo)
    assert drawn != before
    assert 0 < float(drawn.replace("−", "-")) < 400
    assert chromium.value("document.getElementById('draws').textContent") == "64 draws"
    chromium.value("document.getElementById('board').focus()")
    _press(chromium, "ArrowUp", "ArrowUp", " ")
    _settled(chromium)
    by_key = chromium.value(elbo)
    assert by_key != drawn
    chromium.open(tmp_path / "a.html", width=390, fragment=chromium.value("location.hash"))
    _settled(chromium)
    again = float(chromium.value(elbo).replace("−", "-"))
    assert again == pytest.approx(float(by_key.replace("−", "-")), abs=1), "rounded to 16 levels"
    chromium.value("document.getElementById('use').click()")
    changed()
    save_png(tmp_path / "photo.png", np.linspace(0, 1, 40 * 60 * 3).reshape(1, 40, 60, 3))
    (tmp_path / "text.png").write_text("no picture")
    for name, said in (("photo.png", ""), ("text.png", "The browser cannot read text.png")):
        _choose_file(chromium, tmp_path / name)
        _settled(chromium)
        assert chromium.value("document.getElementById('file-problem').textContent").startswith(
            said
        )
    assert chromium.value(elbo) != by_key
    assert not chromium.problems


@pytest.mark.slow
@pytest.mark.parametrize("packaged", ["vae-best"])
def test_bad_addresses_and_hostile_names_do_no_harm(
    chromium: Browser, tmp_path: Path, packaged: str
) -> None:
    trained = load_trained(find_run(f"pretrained:{packaged}", kind="vae"))
    name = "<img src=x onerror=alert(1)>\u202e"
    run = dataclasses.replace(trained.run, path=Path("runs") / name)
    data = dataclasses.replace(trained.config.data, name="mnist", offline=True)
    config = dataclasses.replace(trained.config, data=data)
    hostile = dataclasses.replace(trained, run=run, config=config)
    path = tmp_path / "a.html"
    _open(chromium, hostile, path)
    for fragment in ("#z=1,2", "#z=NaN&from=t9999999&kept=_,&x=constructor&y=p1", "#%00%E0%A4%A"):
        chromium.open(path, width=390, fragment=fragment)
        _settled(chromium)
        assert chromium.value("document.querySelector('h1').textContent").startswith("<")
        assert chromium.value("document.documentElement.scrollWidth") <= 390
    assert not chromium.problems


@pytest.mark.slow
@pytest.mark.parametrize("packaged", ["vae-conv"])
@pytest.mark.parametrize("width", [390, 1280])
def test_fits_the_window_and_prints(
    chromium: Browser, tmp_path: Path, packaged: str, width: int
) -> None:
    trained = load_trained(find_run(f"pretrained:{packaged}", kind="vae"))
    _open(chromium, trained, tmp_path / "a.html", width=width)
    _settled(chromium)
    assert chromium.value("document.documentElement.scrollWidth") <= width
    unnamed = """[...document.querySelectorAll('input, select, button, canvas[tabindex]')].filter(
      (one) => !(one.labels?.length || one.getAttribute('aria-label') || one.textContent.trim())
    ).length"""
    assert chromium.value(unnamed) == 0
    chromium.pdf(tmp_path / "page.pdf")
    assert not chromium.problems
