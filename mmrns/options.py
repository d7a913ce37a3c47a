"""Every option of a run, once: from here come the flags, the YAML keys, `--help` and docs/options.md.

A field is an option. Its default, its limits and its explanation stand together. Nothing else in the package holds a
number of the method.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Device = Literal["auto", "cpu", "cuda"]
"""--device: auto takes a GPU when there is one."""


def _option(section: str, default: Any, explanation: str, **limits: Any) -> Any:
    return Field(default, description=explanation, json_schema_extra={"section": section}, **limits)


class TrainOptions(BaseModel):
    """All options of a training run. Symbols in explanations are those of docs/method.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # --- what is trained on what
    dataset: str = _option("Data", "pictokg", "name of a dataset below $MMRNS_DATA or data/, or its folder")
    features: str = _option(
        "Data", "", "folder of features.safetensors and features.json; empty: the dataset's own folder"
    )
    feature_memory_mb: int = _option(
        "Data",
        2048,
        "features smaller than this are held in memory on the device; larger ones stay memory-mapped",
        ge=0,
    )

    model: str = _option("Model", "rotate", "scoring function: a name from `mmrns list models`, or module:Class")
    model_options: dict[str, Any] = _option(
        "Model", {}, "options of a scoring function's own, as JSON, e.g. '{\"p\": 2}'"
    )
    dim: int = _option("Model", 128, "embedding dimension d; complex models use d complex numbers (2d reals)", gt=0)
    gamma: float = _option(
        "Model", 12.0, "margin of distance scores, score = gamma - distance; sets the initial range", gt=0
    )

    encoder: str = _option(
        "Model", "lookup", "how an entity gets its vector: a name from `mmrns list encoders`, or module:Class"
    )
    encoder_options: dict[str, Any] = _option("Model", {}, "options of an encoder's own, as JSON")
    entity_dropout: float = _option(
        "Model", 0.0, "share of entities a step takes for ones not in train, which have one common vector", ge=0, lt=1
    )
    reciprocal: bool = _option(
        "Model", False, "give each relation a second vector for its inverse, and ask for heads as tails of the inverse"
    )
    initial_range: float = _option(
        "Model", 0.0, "embeddings start uniform in ± this; 0: (gamma + 2) / d, RotatE's habit", ge=0
    )

    sampler: str = _option("Negatives", "mmrns", "negative sampler: a name from `mmrns list samplers`, or module:Class")
    sampler_options: dict[str, Any] = _option("Negatives", {}, "options of a plug-in sampler's own, as JSON")
    num_negatives: int = _option("Negatives", 32, "negatives a triple, n", gt=0)
    negatives_shared: int = _option(
        "Negatives",
        1,
        "queries of a batch that share one draw of the uniform sampler, so that a step touches fewer rows; the known "
        "answers of each are left out for it alone (the chunks of PyTorch-BigGraph, Lerer et al., SysML 2019)",
        gt=0,
    )
    pool_size: int = _option(
        "Negatives", 400, "candidates a step that the MMRNS sampler draws from, P; 0: all entities", ge=0
    )

    # --- MMRNS
    modalities: str = _option(
        "MMRNS",
        "image,text,structure",
        "which similarities the sampler uses, comma-separated, of image, text, structure; score adds the model's own "
        "score of the candidate for the query (--score-scale)",
    )
    attention_width: int = _option("MMRNS", 50, "width a of the cross-modal attention (KCA) and its outputs", gt=0)
    structure_hidden: int = _option("MMRNS", 100, "hidden width of the MLP that gates the structure embedding", gt=0)
    leaky_slope: float = _option("MMRNS", 0.1, "negative slope of KCA's LeakyReLU", ge=0)
    exploration: float = _option(
        "MMRNS", 10.0, "initial exploration temperature epsilon_0; anneals as epsilon_0 / (1 + log(step))", gt=0
    )
    exploration_schedule: Literal["log", "constant"] = _option(
        "MMRNS", "log", "how epsilon falls: log, as published, or constant, not at all"
    )
    score_scale: Literal["standardised", "raw"] = _option(
        "MMRNS",
        "standardised",
        "the likeness `score`: standardised over the pool, or raw, so that --modalities score, --exploration 1 and "
        "--exploration-schedule constant draw in proportion to e^score",
    )
    similarity: Literal["cosine", "centred", "standardised"] = _option(
        "MMRNS",
        "cosine",
        "what is compared: z as it is (the equations), less its mean over the pool under the relation, or that over "
        "its standard deviation in each dimension; the latter two spread the cosines",
    )
    cosine_epsilon: float = _option("MMRNS", 1e-8, "delta added to the product of norms in a cosine", gt=0)
    gumbel_temperature: float = _option("MMRNS", 1.0, "temperature tau of the relaxed draw in the backward pass", gt=0)
    sampler_gradient: Literal["cooperative", "adversarial", "off"] = _option(
        "MMRNS",
        "cooperative",
        "what L_kgc's gradient through the draw does to the sampler: cooperative minimises L_kgc (the equations), "
        "adversarial maximises it, off stops it",
    )
    sampler_detach: bool = _option(
        "MMRNS",
        False,
        "give the sampler a detached view of entity and relation embeddings, so that it cannot move them",
    )

    # --- how hard, and how sure
    entropy_target: float = _option(
        "Hardness",
        0.0,
        "normalised entropy of the sampling distribution (1 is uniform) that epsilon is solved for at each step; "
        "0: epsilon follows --exploration",
        ge=0,
        le=1,
    )
    entropy_anneal: float = _option(
        "Hardness", 0.5, "share of the run over which the target entropy falls from 1 to --entropy-target", ge=0, le=1
    )
    entropy_schedule: Literal["linear", "cosine"] = _option(
        "Hardness", "linear", "how the target entropy falls: in a straight line, or along half a cosine"
    )
    uniform_share: float = _option(
        "Hardness", 0.0, "share of a triple's negatives drawn uniformly from the whole graph", ge=0, le=1
    )
    uniform_warmup: float = _option(
        "Hardness", 0.0, "share of the run, from its start, in which all negatives are drawn uniformly", ge=0, le=1
    )
    importance_correction: float = _option(
        "Hardness",
        0.0,
        "share c of the correction for drawing unevenly: a negative's weight (with --sampled-loss softmax, e^score) is "
        "divided by (p_j / uniform)^c; 1 estimates the loss of uniform sampling",
        ge=0,
        le=1,
    )
    correction_for: Literal["draw", "inclusion"] = _option(
        "Hardness",
        "draw",
        "how often a candidate counts as drawn there: draw, as in a single draw, p_j; inclusion, as in n draws without "
        "replacement, which take likely ones once and not n p_j times (docs/sampler.md)",
    )
    guard: Literal["none", "similarity", "score", "co-answers"] = _option(
        "Hardness",
        "none",
        "guard against false negatives: which candidates count as likely answers, those most similar to the answer, "
        "those that the model scores highest, or those that answer the same queries of train",
    )
    guard_share: float = _option(
        "Hardness", 0.05, "share of the pool (co-answers: of the entities) that the guard marks, at most", ge=0, lt=1
    )
    guard_weight: float = _option(
        "Hardness", 0.0, "what the probability of a marked candidate is multiplied by; 0: skip it", ge=0, le=1
    )

    # --- L_con
    contrastive_loss: Literal["ratio", "infonce", "supcon", "triplet", "margin", "self-supervised"] = _option(
        "L_con",
        "ratio",
        "what L_con is: the paper's weighted ratio over positives and negatives; InfoNCE (NT-Xent), SupCon, triplets "
        "or margins over the query's other known answers and unmarked candidates; or an entity's pictures against its "
        "texts",
    )
    contrastive_temperature: float = _option("L_con", 0.1, "temperature of infonce, supcon and self-supervised", gt=0)
    contrastive_margin: float = _option(
        "L_con",
        0.2,
        "triplet: by how much more similar a positive should be; margin: the similarity that a negative may have",
        ge=-1,
        le=1,
    )
    contrastive_weight: float = _option("L_con", 0.01, "weight beta of L_con in L = L_kgc + beta L_con", ge=0)
    contrastive_warmup: float = _option(
        "L_con", 0.0, "share of the run, from its start, in which --contrastive-warmup-weight is beta", ge=0, le=1
    )
    contrastive_warmup_weight: float = _option("L_con", 1.0, "beta during --contrastive-warmup", ge=0)
    pool_positives: int = _option(
        "L_con",
        1,
        "known answers a query brought to L_con beside its own and those in the pool, where there are some",
        ge=0,
    )

    # --- objective
    objective: Literal["sampled", "1vsall", "kvsall"] = _option(
        "Loss",
        "sampled",
        "what is minimised: sampled, L_kgc over a sampler's negatives; 1vsall, cross-entropy of each answer against "
        "all entities; kvsall, binary cross-entropy of all entities (an example of both is a distinct query of train)",
    )
    label_smoothing: float = _option(
        "Loss", 0.0, "share of the target of 1vsall and kvsall that is spread over all entities", ge=0, lt=1
    )
    sampled_weight: float = _option(
        "Loss", 0.0, "weight of the sampler's L_kgc + beta L_con beside 1vsall or kvsall; 0: no sampler", ge=0
    )
    sampled_loss: Literal["self-adversarial", "softmax"] = _option(
        "Loss",
        "self-adversarial",
        "L_kgc: self-adversarial, log-sigmoids of the answer and of its weighed negatives (RotatE; the equations); "
        "softmax, the cross-entropy of the answer among all entities, estimated from its negatives (docs/sampler.md)",
    )
    adversarial_temperature: float = _option(
        "Loss", 1.0, "alpha of the self-adversarial weights softmax(alpha * score); 0: equal weights", ge=0
    )
    subsampling: bool = _option("Loss", True, "weight a triple by 1/sqrt(frequency of its two queries), as RotatE does")
    subsampling_offset: float = _option("Loss", 3.0, "added to each frequency before the square root", ge=0)
    regularization: float = _option("Loss", 0.0, "weight of --regularizer on the batch's embeddings", ge=0)
    regularizer: Literal["n3", "dura"] = _option(
        "Loss",
        "n3",
        "what keeps embeddings small: n3, their cubed 3-norms (Lacroix et al., ICML 2018); dura, squared norms of "
        "entities and of their products with relations (Zhang et al., NeurIPS 2020), for distmult, complex and rescal",
    )
    relation_prediction: float = _option(
        "Loss",
        0.0,
        "weight, beside 1vsall or kvsall, of the cross-entropy of each triple's relation against all relations "
        "(Chen et al., AKBC 2021); 0: relations are not predicted",
        ge=0,
    )

    # --- optimisation
    optimizer: Literal["adam", "adagrad"] = _option("Optimisation", "adam", "optimiser of all parameters")
    learning_rate: float = _option("Optimisation", 1e-3, "learning rate of entity and relation embeddings", gt=0)
    sampler_learning_rate: float = _option("Optimisation", 1e-3, "learning rate of the sampler's own parameters", gt=0)
    schedule: Literal["constant", "linear", "cosine"] = _option(
        "Optimisation", "constant", "learning-rate schedule after warm-up, over all steps, for both groups"
    )
    warmup_steps: int = _option("Optimisation", 0, "steps over which the learning rate rises linearly from 0", ge=0)
    sparse: Literal["auto", "always", "never"] = _option(
        "Optimisation",
        "auto",
        "update only those rows of the entity table that a step uses (docs/scale.md says how this differs for Adam); "
        "auto: for tables of more than 2^25 numbers, in one process, with --objective sampled",
    )
    clip_gradient: float = _option("Optimisation", 0.0, "clip the gradient's 2-norm at this; 0: do not clip", ge=0)

    # --- the run
    steps: int = _option("Run", 0, "optimiser steps; 0: use --epochs", ge=0)
    epochs: int = _option("Run", 0, "passes over the examples, used when --steps is 0; both 0: 100 epochs", ge=0)
    batch_size: int = _option("Run", 256, "triples (1vsall, kvsall: distinct queries) a step, over all processes", gt=0)
    relation_group: int = _option(
        "Run",
        1,
        "examples of one relation that come together in the order of an epoch; with more than 1 a batch has fewer "
        "relations, which makes a step of MMRNS cheaper (docs/performance.md); 1: each comes on its own",
        gt=0,
    )
    seed: int = _option("Run", 0, "seed of initialisation, batches and draws", ge=0, lt=2**32)
    device: Device = _option("Run", "auto", "where to train; auto takes a GPU when there is one")
    precision: Literal["auto", "no", "tf32", "bf16", "fp16"] = _option(
        "Run",
        "no",
        "bf16, fp16: mixed precision, through accelerate; tf32: single precision whose matrix products a GPU's tensor "
        "cores round to TF32; auto: bf16 where the GPU or the processor has instructions for it, else no; config.yaml "
        "keeps what it came to be. Evaluation is in single precision throughout",
    )
    threads: int = _option("Run", 0, "CPU threads of torch; 0: torch's default", ge=0)
    output: str = _option(
        "Run",
        "",
        "run folder; empty: checkpoints/<dataset>-<model>-<sampler>-<seed>, with the objective in the sampler's place "
        "where that is 1vsall or kvsall (1vsall-mmrns with sampled negatives beside)",
    )

    # --- what is selected, and on what
    protocol: Literal["own", "published"] = _option(
        "Selection",
        "own",
        "published: the habit of the field, all of train for a fixed number of steps, and the last weights; stands for "
        "--validation published --selection last, and metrics.json says so. own: as these two options say",
    )
    selection: Literal["best", "last"] = _option(
        "Selection",
        "best",
        "weights that are kept: best, those of the validation with the highest --metric; last, those of the last step, "
        "as for a final model that trains on all of train for a number of steps found before",
    )
    validation: Literal["auto", "published", "held-out"] = _option(
        "Selection",
        "auto",
        "triples that stand for valid: published, those of valid.txt; held-out, a slice that leaves train; auto, "
        "held-out where more than a tenth of valid.txt lies in train or test and --selection is best",
    )
    held_out: float = _option(
        "Selection",
        0.05,
        "size of the slice: below 1 a share of train's distinct triples, otherwise their number",
        gt=0,
    )
    held_out_seed: int = _option(
        "Selection", 0, "seed of the slice; runs of every --seed share it, so that they can be compared", ge=0
    )

    # --- evaluation and bookkeeping
    valid_every: int = _option("Evaluation", 0, "steps between validations; 0: ten times a run", ge=0)
    valid_queries: int = _option(
        "Evaluation", 0, "validate during training on this many triples of valid; 0: all", ge=0
    )
    metric: Literal["mrr", "hits@1", "hits@3", "hits@10"] = _option(
        "Evaluation", "mrr", "metric of valid, both directions, that selects the checkpoint"
    )
    patience: int = _option("Evaluation", 0, "stop after this many validations without improvement; 0: never", ge=0)
    eval_queries: int = _option(
        "Evaluation",
        0,
        "rank at most this many triples of valid and of test at the end, a sample that all runs share; 0: all",
        ge=0,
    )
    eval_memory_mb: int = _option("Evaluation", 256, "memory that scoring all entities may use at once", gt=0)
    checkpoint_every: int = _option(
        "Evaluation", 0, "steps between saved training states; 0: at every validation", ge=0
    )
    log_every: int = _option("Evaluation", 50, "steps between TensorBoard entries", gt=0)
