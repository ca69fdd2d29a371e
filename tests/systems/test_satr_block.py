"""SATr's block does what the equations say: shapes, a slow twin, where it looks, the class token between strides."""

from math import erf, exp, sqrt

import pytest
import torch

from semeia.systems import satr

from .satr_makers import CHANNELS, collector, maps

# -- shapes


def test_maps_of_the_key_slice_have_the_shapes_of_maps_of_slices():
    said = collector()(maps(batch=2, height=64, width=96))
    assert [tuple(x.shape) for x in said] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6)]


@pytest.mark.parametrize(("token", "grid"), [(16, (4, 6)), (32, (2, 3))])
def test_every_stride_has_the_same_grid_of_tokens_and_a_class_token(token, grid):
    made = collector(token=token)
    for k, (stage, x, p) in enumerate(zip(made.stages, maps(), (token // 4, token // 8, token // 16), strict=True)):
        assert stage.side == p
        assert stage.embed(x, torch.zeros(2, 1, 16)).shape == (2, 3, 1 + grid[0] * grid[1], 16)
        fine, token_after = stage(x, torch.zeros(2, 1, 16))
        assert fine.shape == (2, CHANNELS[k], *x.shape[-2:])
        assert token_after.shape == (2, 1, 16)


def test_published_tokens_are_257():
    with torch.device("meta"):
        made = satr.SliceAttentionCollector(satr.Config(), (256, 512, 1024), 7)
        for stage, c, side in zip(made.stages, (256, 512, 1024), (128, 64, 32), strict=True):
            x = stage.embed(torch.empty(1, c, 7, side, side), torch.empty(1, 1, 384))
            assert x.shape == (1, 7, 257, 384)


def test_cells_that_no_token_covers_whole_are_filled_by_their_nearest():
    made = collector(token=32)
    x = [torch.randn(1, c, 3, h, w) for c, h, w in ((8, 17, 23), (16, 9, 12), (32, 5, 6))]
    said = made(x)
    assert [tuple(y.shape[-2:]) for y in said] == [(17, 23), (9, 12), (5, 6)]
    stage, class_token = made.stages[0], torch.randn(1, 1, 16)
    rows = [min(i, 16) for i in range(24)]
    columns = [min(i, 22) for i in range(24)]
    filled, after = stage(x[0][..., rows, :][..., columns], class_token)
    whole, same = stage(x[0], class_token)
    assert torch.equal(whole, filled[..., :17, :23])
    assert torch.equal(after, same)


def test_a_map_is_constant_within_a_token_without_the_convolution():
    made = collector(hybrid=False, token=16)
    fine = made(maps())[0]
    assert torch.equal(fine, fine[..., ::4, ::4].repeat_interleave(4, -1).repeat_interleave(4, -2))


# -- the equations, slowly


def gelu(x):
    return x * 0.5 * (1 + erf(x / sqrt(2)))


def layer_norm(x, scale, shift):
    """Of a list of numbers."""
    mean = sum(x) / len(x)
    deviation = sqrt(sum((v - mean) ** 2 for v in x) / len(x) + 1e-6)
    return [(v - mean) / deviation * a + b for v, a, b in zip(x, scale, shift, strict=True)]


def linear(layer, x):
    weight, bias = layer.weight.flatten(1).tolist(), layer.bias.tolist()
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def slow_tokens(stage, x, class_token, p):
    """Steps (1) and (2) for one image: a list of slices of tokens of numbers."""
    c, s, height, width = x.shape
    e = stage.tokens.scale.shape[-1]
    places = [(i, j) for i in range(height // p) for j in range(width // p)]
    whole = [list(class_token)]
    for i, j in places:
        patch = x[:, :, i * p : i * p + p, j * p : j * p + p]  # (C, S, p, p)
        if isinstance(stage.patches, satr.PublishedPatches):
            embed = stage.patches.embed
            whole.append([float((embed.weight[k] * patch).sum() + embed.bias[k]) for k in range(e)])
        else:
            gathered = [float((stage.patches.gather.weight[k, 0] * patch[k]).sum()) for k in range(c)]
            whole.append(linear(stage.patches.project, gathered))
    slices = []
    for k in range(s):
        weight = stage.tokens.embed.weight[k * e : k * e + e, :, 0, 0]
        bias = stage.tokens.embed.bias[k * e : k * e + e]
        scale, shift = stage.tokens.scale[k, 0].tolist(), stage.tokens.shift[k, 0].tolist()
        tokens = [list(class_token)]
        for i, j in places:
            cells = [x[:, k, i * p + a, j * p + b] for a in range(p) for b in range(p)]
            mean = sum(weight @ cell + bias for cell in cells) / p**2  # convolved first, as in the equation
            tokens.append([gelu(v) for v in layer_norm(mean.tolist(), scale, shift)])
        if k == s // 2:
            tokens = [[a + b for a, b in zip(t, w, strict=True)] for t, w in zip(tokens, whole, strict=True)]
        slices.append(tokens)
    return slices


def slow_attention(layer, x, sources, key):
    """Step (3) for one image."""
    heads, n, e = layer.heads, len(x[0]), len(x[0][0])
    d = e // heads
    before, between = ([m.weight.tolist(), m.bias.tolist()] for m in (layer.before, layer.between))
    y = [[layer_norm(t, *before) for t in tokens] for tokens in x]
    both = [linear(layer.query_key, [v for s in sources for v in y[s][t]]) for t in range(n)]
    values = [linear(layer.value, y[key][t]) for t in range(n)]
    z = []
    for t in range(n):
        read = []
        for a in range(heads):
            query = both[t][a * d : a * d + d]
            scores = [
                sum(q * k for q, k in zip(query, both[u][e + a * d : e + a * d + d], strict=True)) for u in range(n)
            ]
            powers = [exp(v / sqrt(d)) for v in scores]
            read += [sum(w * values[u][a * d + m] for u, w in enumerate(powers)) / sum(powers) for m in range(d)]
        kept = [a + b for a, b in zip(x[key][t], linear(layer.out, read), strict=True)]
        inner = [gelu(v) for v in linear(layer.think[0], layer_norm(kept, *between))]
        z.append([a + b for a, b in zip(kept, linear(layer.think[2], inner), strict=True)])
    return z


def slow_back(stage, z, grid, p):
    """Step (4) for one image, batch norm with running statistics: (C, H, W)."""
    convolve, norm, _ = stage.back
    out = torch.zeros(convolve.out_channels, grid[0] * p, grid[1] * p, dtype=torch.float64)
    for i in range(grid[0]):
        for j in range(grid[1]):
            value = torch.tensor(linear(convolve, z[1 + i * grid[1] + j]), dtype=torch.float64)
            value = (value - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
            out[:, i * p : i * p + p, j * p : j * p + p] = value.clamp(min=0)[:, None, None]
    return out


@pytest.mark.parametrize("attend", ["neighbours", "all"])
@pytest.mark.parametrize("embedding", ["published", "separable"])
@pytest.mark.parametrize("slices", [3, 4])
@torch.no_grad()
def test_the_collector_is_its_equations_done_slowly(attend, embedding, slices):
    made = collector((3, 4, 5), attend=attend, embedding=embedding, slices=slices, block_norm="batch", width=8).double()
    x = [m.double() for m in maps(1, slices, 32, 48, channels=(3, 4, 5))]
    said = made(x)
    key, class_token = slices // 2, [0.0] * 8
    sources = [s for s in range(slices) if s != key or attend == "all"]
    for k, p in enumerate((4, 2, 1)):
        stage = made.stages[k]
        tokens = slow_tokens(stage, x[k][0], class_token, p)
        z = slow_attention(stage.layer, tokens, sources, key)
        class_token = z[0]  # to the next stride
        attended = slow_back(stage, z, (2, 3), p)
        collected = (made.collect.convolve[k].weight[:, :, :, 0, 0, None, None] * x[k]).sum((1, 2))
        convolve, norm, _ = made.fuse[k].mix
        mixed = torch.einsum("oc,chw->ohw", convolve.weight[:, :, 0, 0], collected + attended)
        normed = (mixed - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[:, None, None]
        fused = (normed * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0) + collected
        assert torch.allclose(said[k][0], fused, atol=1e-10)


def test_gradients_are_those_of_differences():
    made = collector((2, 2, 2), width=4, token=32).double()
    x = maps(1, 3, 32, 32, channels=(2, 2, 2))
    coarse = x[2].double().requires_grad_()
    stage = made.stages[2]
    class_token = torch.randn(1, 1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stage, (coarse, class_token))


# -- where to look, and what is read


def inside(stage, x, class_token):
    """Attention (B, A, N, N) and values (B, N, E) of a stage."""
    y = stage.layer.before(stage.embed(x, class_token))
    return stage.layer.rows(y), stage.layer.value(y[:, stage.key])


@torch.no_grad()
def test_the_key_slice_does_not_say_where_to_look():
    made, x = collector(slices=5), maps(slices=5)
    class_token = torch.randn(2, 1, 16)
    for stage, m in zip(made.stages, x, strict=True):
        rows, values = inside(stage, m, class_token)
        other = m.clone()
        other[:, :, 2] += torch.randn_like(other[:, :, 2])
        new_rows, new_values = inside(stage, other, class_token)
        assert torch.equal(rows, new_rows)
        assert not torch.allclose(values, new_values, atol=1e-2)


@torch.no_grad()
def test_every_neighbour_says_where_to_look():
    made, x = collector(slices=5), maps(slices=5)
    class_token = torch.randn(2, 1, 16)
    for s in (0, 1, 3, 4):
        other = x[0].clone()
        other[:, :, s] += torch.randn_like(other[:, :, s])
        assert not torch.allclose(inside(made.stages[0], x[0], class_token)[0],
                                  inside(made.stages[0], other, class_token)[0], atol=1e-4)  # fmt: skip


@torch.no_grad()
def test_a_neighbour_is_read_through_the_patch_embedding_alone():
    class_token = torch.randn(2, 1, 16)
    for embedding, same in (("separable", False), ("published", False), ("none", True)):
        made, (x, *_) = collector(slices=5, embedding=embedding), maps(slices=5)
        other = x.clone()
        other[:, :, 4] += torch.randn_like(other[:, :, 4])
        values, new = (inside(made.stages[0], m, class_token)[1] for m in (x, other))
        assert torch.equal(values, new) is same
    # ... and of the published one through its weights of that neighbour
    made = collector(slices=5, embedding="published")
    made.stages[0].patches.embed.weight[:, :, 4] = 0
    values, new = (inside(made.stages[0], m, class_token)[1] for m in (x, other))
    assert torch.equal(values, new)


@torch.no_grad()
def test_in_the_arm_of_the_key_slice_neighbours_come_in_through_the_embedding_alone():
    made, (x, *_) = collector(slices=5, attend="key", embedding="none", hybrid=False), maps(slices=5)
    other = torch.randn_like(x)
    other[:, :, 2] = x[:, :, 2]
    start = torch.zeros(2, 1, 16)
    assert torch.equal(made.stages[0](x, start)[0], made.stages[0](other, start)[0])
    assert made.stages[0].tokens.scale.shape[0] == 1


@torch.no_grad()
def test_rows_sum_to_one():
    rows, _ = inside(collector().stages[0], maps()[0], torch.zeros(2, 1, 16))
    assert rows.shape == (2, 2, 25, 25)
    assert torch.allclose(rows.sum(-1), torch.ones(2, 2, 25))


@torch.no_grad()
def test_no_token_knows_where_it_lies():
    layer, x = collector().stages[1].layer, torch.randn(2, 3, 13, 16)
    order = torch.randperm(13)
    assert torch.allclose(layer(x, (3, 4))[:, order], layer(x[:, :, order], (3, 4)), atol=1e-5)
    # ... and neither does a patch of a map
    stage, x = collector(block_norm="batch").stages[0], maps(1, height=64, width=64)[0]

    def moved(m):
        patches = m.unflatten(-2, (4, 4)).unflatten(-1, (4, 4)).transpose(-3, -2)  # (..., h, w, p, p)
        patches = patches.flatten(-4, -3)[..., torch.arange(16).roll(5), :, :].unflatten(-3, (4, 4))
        return patches.transpose(-3, -2).flatten(-2).flatten(-3, -2)

    start = torch.randn(1, 1, 16)
    (fine, after), (fine_moved, same) = stage(x, start), stage(moved(x), start)
    assert torch.allclose(moved(fine), fine_moved, atol=1e-5)
    assert torch.allclose(after, same, atol=1e-5)


@torch.no_grad()
def test_the_control_sees_its_neighbourhood_and_no_farther():
    made = collector(block="convolution", block_norm="batch")
    x = maps(1, height=128, width=128)[0]
    other = x.clone()
    other[..., :4, :4] += 1  # one token
    none = torch.zeros(1, 0, 16)
    differs = (made.stages[0](x, none)[0] != made.stages[0](other, none)[0]).any(1)[0, ::4, ::4]  # (8, 8)
    assert differs[:3, :3].any()
    assert not differs[3:].any()
    assert not differs[:, 3:].any()


# -- the class token


@torch.no_grad()
def test_each_stride_gets_the_class_token_of_the_one_before():
    made, got, gave = collector(), [], []
    for stage in made.stages:
        stage.register_forward_hook(lambda _, inputs, outputs: (got.append(inputs[1]), gave.append(outputs[1]))[0])
    made(maps())
    assert torch.equal(got[0], torch.zeros(2, 1, 16))
    assert torch.equal(got[1], gave[0])
    assert torch.equal(got[2], gave[1])
    assert not torch.allclose(gave[0], torch.zeros(1), atol=1e-3)


@torch.no_grad()
def test_the_class_token_is_doubled_at_the_key_slice():
    made, class_token = collector(slices=4), torch.randn(2, 1, 16)
    x = made.stages[1].embed(maps(slices=4)[1], class_token)
    for s in range(4):
        assert torch.equal(x[:, s, :1], class_token * (2 if s == 2 else 1))


@torch.no_grad()
def test_without_a_class_token_strides_do_not_tell_one_another_anything():
    x = maps()
    other = [torch.randn_like(x[0]), *x[1:]]
    for kind, alike in (("none", True), ("zero", False), ("learned", False)):
        made = collector(class_token=kind)
        assert torch.equal(made(x)[1], made(other)[1]) is alike
        assert ("start" in made.state_dict()) is (kind == "learned")
