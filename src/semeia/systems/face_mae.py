"""Face MAE: the facial prior, a masked autoencoder that learned what faces look like from unlabelled pictures.

    Paper   Li, Sun, Liu, Han, Shan: Affective Behaviour Analysis Using Pretrained Model with Facial Prior, ECCV
            Workshops 2022, arXiv 2207.11679; method: He et al.: Masked Autoencoders Are Scalable Vision Learners,
            CVPR 2022, arXiv 2111.06377
    Idea    Most patches of a face are hidden. An encoder that never sees them, and a small decoder that knows only
            where they were, must draw them; what the encoder learns about faces is where other systems start from.
    Flow    image -> a quarter of its patches -> ViT (visible tokens alone) -> mask tokens in the gaps -> decoder
            -> pixels of the hidden patches, each patch standardised -> mean squared error
    Known   That the prior is an MAE on unlabelled CelebA faces with a ViT-B/16, and probably standardised pixels (from
            the name of a file). All else is He et al.'s recipe, or smaller for two cores (docs/systems/face_mae.md).

Shapes      B images   H, W pixels   N = h * w patches   K of them visible   p side of a patch in pixels
            C encoder width   D decoder width
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from semeia.nn.masking import Masking, kept, patchify, random_masking, standardised, unpatchify, with_mask_tokens
from semeia.nn.stages import Stages, last_norm, maskable_vit, visible_tokens
from semeia.records import SemeiaError
from semeia.task import Task


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    backbone: str = "fine_vit"
    """``fine_vit`` or a plain timm ViT, the encoder. [code: ViT-B/16; default: small, for two cores]"""
    image_size: int = 112
    """Side of the square input in pixels. [default: spec section 11 recommends 112-160]"""
    backbone_width: int = 192
    """C, channels of ``fine_vit``. [default: ViT-Tiny]"""
    backbone_depth: int = 1
    """Blocks of ``fine_vit``. [default: for two cores, above a convolutional stem]"""
    backbone_heads: int = 3
    """Attention heads of ``fine_vit``. [default: ViT-Tiny]"""
    drop_path: float = 0.0
    """Largest rate of stochastic depth in the encoder. [He et al.: none in pre-training]"""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Channel means that the input is normalised with. [default: those of Q-Face, which starts from here]"""
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    """Channel deviations that the input is normalised with. [default: as for the means]"""
    mask_ratio: float = 0.75
    """Part of the patches that is hidden. [He et al.]"""
    decoder_width: int = 128
    """D. [He et al.: 512 above a width of 768; in proportion to the encoder]"""
    decoder_depth: int = 2
    """Blocks of the decoder. [He et al.: 8, and 1 is enough for fine-tuning; small, for two cores]"""
    decoder_heads: int = 4
    """Attention heads of the decoder. [He et al.: 16 at width 512, as wide each]"""
    norm_pix: bool = True
    """Predict pixels standardised within each patch. [inferred: the authors' file is called mae_norm; He et al.]"""


class FaceMAE(Task):
    """A masked autoencoder as a task: ``forward`` returns the loss, ``reconstruct`` draws what was hidden.

    Args:
        config: See ``Config``.
        backbone: The encoder, named as in the systems that start from it.
        width: C, what the encoder answers.
        grid: h and w.
    """

    mean: Tensor
    std: Tensor
    position: Tensor

    def __init__(self, config: Config, *, backbone: Stages, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        self.patch = config.image_size // grid[0]
        self.backbone = backbone
        self.norm = last_norm(backbone.model)
        d = config.decoder_width
        self.enter = nn.Linear(width, d)
        self.mask_token = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.decoder = nn.Sequential(
            *(Block(d, config.decoder_heads, qkv_bias=True) for _ in range(config.decoder_depth))
        )
        self.leave = nn.LayerNorm(d)
        self.pixels = nn.Linear(d, self.patch * self.patch * 3)
        for layer in (self.enter, self.pixels):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("position", build_sincos2d_pos_embed(list(grid), dim=d), persistent=False)  # (N, D)
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1))

    # -- the paper's boxes

    def masking(self, noise: Tensor) -> Masking:
        """Which patches of each image stay visible, from noise ``(B, N)``."""
        return random_masking(noise, kept(noise.shape[1], self.config.mask_ratio))

    def encode(self, image: Tensor, masking: Masking) -> Tensor:
        """``(B, 3, H, W)`` normalised -> ``(B, P + K, C)``, from the visible patches alone."""
        return self.norm(visible_tokens(self.backbone.model, image, masking.visible))

    def decode(self, encoded: Tensor, masking: Masking) -> Tensor:
        """``(B, P + K, C)`` -> values of all patches ``(B, N, p p 3)``; prefix tokens are left behind."""
        x = self.enter(encoded[:, self.backbone.model.num_prefix_tokens :])
        x = with_mask_tokens(x, masking, self.mask_token) + self.position  # (B, N, D)
        return self.pixels(self.leave(self.decoder(x)))

    def target(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` normalised -> what should be predicted, ``(B, N, p p 3)``."""
        patches = patchify(image, self.patch)
        return standardised(patches)[0] if self.config.norm_pix else patches

    # -- training

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Mean squared error over the hidden patches.

        Args:
            batch: ``image`` (B, 3, H, W) in [0, 1]; all else is left unread.
            loss: There is one, ``main``.
        """
        image = batch["image"]
        noise = torch.rand(len(image), self.grid[0] * self.grid[1], device=image.device)
        return {"loss": self.errors(image, noise).mean()}

    def errors(self, image: Tensor, noise: Tensor) -> Tensor:
        """(B,) error of each image ``(B, 3, H, W)`` in [0, 1], hidden by ``noise`` ``(B, N)``."""
        image = (image - self.mean) / self.std
        masking = self.masking(noise)
        predicted = self.decode(self.encode(image, masking), masking)
        return masked_error(predicted.float(), self.target(image), masking.hidden)

    # -- prediction

    @torch.no_grad()
    def reconstruct(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw what the model makes of hidden patches; visible ones are shown as they are.

        With ``norm_pix`` the model knows neither mean nor contrast of a hidden patch: they are taken from the picture,
        as in He et al.'s figures.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1].
            noise: ``(B, N)`` that hides patches; drawn where it is not given.

        Returns:
            What the encoder saw, with grey where patches were hidden, and the reconstruction: both as ``image``.
        """
        if noise is None:
            noise = torch.rand(len(image), self.grid[0] * self.grid[1], device=image.device)
        masking = self.masking(noise)
        normal = (image - self.mean) / self.std
        predicted = self.decode(self.encode(normal, masking), masking).float()
        if self.config.norm_pix:
            _, mean, deviation = standardised(patchify(normal, self.patch))
            predicted = predicted * deviation + mean
        drawn = (unpatchify(predicted, self.grid) * self.std + self.mean).clamp(0, 1)
        hidden = masking.hidden[..., None].expand(-1, -1, self.patch * self.patch * 3)
        hidden = unpatchify(hidden, self.grid)  # (B, N, p p 3) -> (B, 3, H, W)
        return image.masked_fill(hidden, 0.5), torch.where(hidden, drawn, image)

    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's tensors, named as in the timm model."""
        return dict(self.backbone.model.state_dict())


def masked_error(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error of each image over its hidden patches.

    Args:
        predicted: ``(B, N, p p 3)``.
        target: ``(B, N, p p 3)``.
        hidden: ``(B, N)`` bool, as many of each image.

    Returns:
        ``(B,)``.
    """
    each = (predicted - target).square().mean(-1) * hidden  # (B, N)
    return each.sum(1) / hidden.sum(1)


def copy_encoder(
    prior: FaceMAE, backbone: Stages, *, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
) -> list[str]:
    """Start the backbone of another system from the encoder of a trained prior.

    Args:
        prior: Left as it is.
        backbone: Built by ``nn.stages.stages`` with the settings of the prior's; taps and stochastic depth may differ.
        mean: Channel means that the other system normalises with, to be compared where given.
        std: Channel deviations, likewise.

    Returns:
        The names of the tensors that were copied.

    Raises:
        SemeiaError: The two are built otherwise; ``backbone`` is unchanged.
    """
    config = prior.config
    own = {"mean": config.mean, "std": config.std, **prior.backbone.settings}
    given = {name: tuple(value) for name, value in (("mean", mean), ("std", std)) if value is not None}
    other = {"mean": config.mean, "std": config.std, **backbone.settings, **given}
    wrong = [f"{k} {own.get(k)!r} there, {other.get(k)!r} here" for k in own | other if own.get(k) != other.get(k)]
    if wrong:
        raise SemeiaError(
            f"the prior does not fit this backbone: {'; '.join(wrong)}; build the backbone like the prior, or train a "
            "prior like the backbone"
        )
    state = prior.encoder_state()
    backbone.model.load_state_dict(state)
    return list(state)


def build(config: Config) -> FaceMAE:
    """Build the model, every part spelled out once.

    Raises:
        SemeiaError: A backbone that cannot be masked, or a ratio that leaves nothing visible or nothing hidden.
    """
    backbone = maskable_vit(config)
    h, w = backbone.model.patch_embed.grid_size
    visible = kept(h * w, config.mask_ratio)
    if not 0 < visible < h * w:
        raise SemeiaError(
            f"mask_ratio is {config.mask_ratio}; expected a part that hides some of the {h * w} patches, not "
            f"{h * w - visible} of them"
        )
    return FaceMAE(config, backbone=backbone, width=backbone.model.embed_dim, grid=(h, w))
