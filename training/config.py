"""What a training run is: one TOML file, typed, checked before the first step.

A new experiment is a new file (configs/train-*.toml), not a new flag.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infembed.bundle import MaxTokens, Pooling, Tower
from infembed.config import Config
from infembed.inputs import Fusion, InputType
from training.corpus.rows import InstructionType
from training.losses import Join, Term

DEFAULT_BASE = "all-minilm-l6-v2"
MINI = "inf-ir-mini"
"""The corpus in this package; it has a part for training and one for dev."""
MIN_DIM = 8
"""The narrowest vectors that a run may train."""
MOST_RANK = 512
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What runs may be called: their directories and bundles are named so."""


class Arithmetic(StrEnum):
    """Arithmetic of the forward and backward pass; weights and optimiser stay in fp32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class LoraConfig(Config):
    """Low-rank factors beside every matrix of the encoder's layers; the base weights stay as they are."""

    rank: int = Field(default=16, ge=1, le=MOST_RANK, description="raising it learns more and stores more")
    alpha: float = Field(default=32, gt=0, description="raising it makes each step change the model more")
    dropout: float = Field(default=0.0, ge=0, lt=1)


class ModelConfig(Config):
    """The encoder and how it reads instruction and query."""

    base: str = Field(default=DEFAULT_BASE, description="checkpoint directory, hub name, or all-minilm-l6-v2")
    fusion: Fusion = Fusion.PREFIX
    pooling: Pooling = Pooling.MEAN
    pools_instruction: bool = Field(default=False, description="prefix: pool over instruction tokens as well")
    tower: Tower = Field(
        default=Tower.FROZEN,
        description="frozen: documents keep the base model's vectors; steered: so do plain queries",
    )
    prompts: dict[InputType, str] = Field(default_factory=dict, description="E5: `query: ` and `passage: `")
    max_tokens: MaxTokens = MaxTokens(document=256, query=256, instruction=256)
    lora: LoraConfig | None = Field(default=None, description="None: all weights are trained")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of the encoder while it is trained")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.pools_instruction and self.fusion is not Fusion.PREFIX:
            raise ValueError(f"pools_instruction is a choice of fusion prefix, fusion is {self.fusion}")
        if self.pools_instruction and self.pooling is Pooling.CLS:
            raise ValueError("pools_instruction with pooling cls would pool the instruction's own first token alone")
        if self.tower is Tower.STEERED and self.fusion is not Fusion.PREFIX:
            raise ValueError(
                f"tower steered trains what fusion prefix caches of an instruction, fusion is {self.fusion}"
            )
        if self.tower is Tower.STEERED and self.lora is None:
            raise ValueError("tower steered needs [model.lora]: its factors act on instructions alone")
        return self

    @property
    def max_query_tokens(self) -> int:
        """Longest token sequence of a query's own text; under `concat` it carries the instruction too."""
        extra = self.max_tokens.instruction if self.fusion is Fusion.CONCAT else 0
        return self.max_tokens.query + extra

    @property
    def document_reading(self) -> str:
        """What decides a document's vector beside the weights."""
        return self.model_dump_json(include={"pooling", "prompts", "max_tokens"})


class LossConfig(Config):
    """A row of the paper's loss map, and what holds plain retrieval where it is."""

    terms: tuple[Term, ...] = Field(default=(Term.P, Term.I), min_length=1)
    join: Join = Join.MULTI
    temperature: float = Field(default=0.05, gt=0, le=1)
    share: float = Field(
        default=0.05, ge=0, le=1, description="term I: share of the batch's instructions that each query is tried with"
    )
    with_instructions: bool = Field(
        default=True, description="false trains on the same pairs without instructions: the paper's missing ablation"
    )
    plain_weight: float = Field(
        default=0.0, ge=0, description="raising it holds plain queries closer to the base model's vectors"
    )
    dimensions: tuple[Annotated[int, Field(ge=MIN_DIM)], ...] = Field(
        default=(), description="Matryoshka: widths whose losses are averaged; empty: the full width alone"
    )
    teacher: str | None = Field(default=None, description="a run's model whose scores of the documents are learned")
    teacher_weight: float = Field(
        default=0.0, ge=0, description="raising it follows the teacher more and the rows' own judgements less"
    )

    @property
    def uses_variants(self) -> bool:
        """Whether queries are tried with other instructions than their own."""
        return Term.I in self.terms

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.terms)) != len(self.terms):
            raise ValueError(f"terms names one twice: {', '.join(self.terms)}")
        if Term.I in self.terms and self.share == 0:
            raise ValueError("term I needs share above 0: with 0 no query is tried with another instruction")
        if Term.I in self.terms and not self.with_instructions:
            raise ValueError("term I contrasts instructions, and with_instructions = false takes them away")
        if len(set(self.dimensions)) != len(self.dimensions):
            raise ValueError(f"dimensions names one twice: {', '.join(map(str, self.dimensions))}")
        if self.teacher is not None and self.teacher_weight == 0:
            raise ValueError(
                f"teacher is {self.teacher} and teacher_weight is 0, so nothing is learned from it; raise it"
            )
        if self.teacher is None and self.teacher_weight > 0:
            raise ValueError(f"teacher_weight is {self.teacher_weight:g} and no teacher is named; name one")
        return self


class DataConfig(Config):
    """Which rows a batch is drawn from."""

    corpora: tuple[str, ...] = Field(
        default=("inf-ir-mini",), min_length=1, description="corpus directories or files, and inf-ir-mini"
    )
    shares: dict[str, float] = Field(
        default_factory=dict,
        description="weight of each source in a batch; empty: as many as it has rows. Sources not named are left out",
    )
    balances_types: bool = Field(default=False, description="draw each instruction type of a source equally often")
    mined: int = Field(
        default=0, ge=0, le=64, description="term P: most documents of other rows that each pair is contrasted with"
    )
    mined_most: float = Field(
        default=0.95, gt=0, le=1, description="share of its positive's score that a mined document scores less than"
    )
    exclude_types: tuple[InstructionType, ...] = ()
    exclude_sources: tuple[str, ...] = ()
    exclude_licenses: tuple[str, ...] = Field(default=(), description="rows whose licence contains one of these words")
    dev: tuple[str, ...] = Field(default=("inf-ir-mini",), min_length=1, description="corpora for early stopping")
    dev_rows: int = Field(default=300, ge=20, description="most rows of each dev source, chosen by digest")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(share <= 0 for share in self.shares.values()):
            raise ValueError("shares must be above 0; leave a source out to give it none")
        both = sorted(set(self.shares) & set(self.exclude_sources))
        if both:
            raise ValueError(f"{', '.join(both)} stand in shares and in exclude_sources")
        if seen := sorted((set(self.corpora) & set(self.dev)) - {MINI}):
            raise ValueError(f"corpora and dev both name {', '.join(seen)}; dev must be rows that training never sees")
        return self


class StepsConfig(Config):
    """How long and how fast."""

    max_steps: int = Field(default=400, ge=1)
    rows_per_step: int = Field(default=32, ge=2, description="rows of all ranks together; each gives up to three pairs")
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    precision: Arithmetic = Arithmetic.FP32
    chunk_tokens: int = Field(
        default=4096, ge=16, description="padded tokens encoded at once, texts of like length together"
    )
    recomputes: bool = Field(
        default=False, description="keep no activations and compute them again: any batch fits, a third slower"
    )
    log_every: int = Field(default=10, ge=1, description="steps whose mean loss is one point of the curve")
    evaluate_every: int = Field(default=100, ge=1, description="steps between dev scores and checkpoints")
    patience: int = Field(default=5, ge=1, description="dev scores without a better one until the run stops")


class TrainConfig(Config):
    """A whole training run."""

    name: str = Field(pattern=NAME)
    seed: int = Field(default=42, ge=0, lt=2**32)
    start_from: str | None = Field(default=None, description="a run's model to go on from; None: the base model")
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    steps: StepsConfig = StepsConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model.tower is Tower.STEERED and not self.loss.with_instructions:
            raise ValueError("tower steered learns from instructions alone, with_instructions = false takes them away")
        if self.model.tower is Tower.STEERED and self.loss.plain_weight:
            raise ValueError("tower steered leaves plain queries as they are: take plain_weight away")
        if self.data.mined and Term.P not in self.loss.terms:
            raise ValueError(
                f"data.mined adds negatives to term P, loss.terms is {', '.join(self.loss.terms)}; add P, or mine none"
            )
        return self
