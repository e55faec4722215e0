"""The 96 systems as one table: what each is, and how far it is here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accord.errors import ConfigError

Status = Literal["working", "planned"]
Verdict = Literal["holds", "mixed", "fails"]

WORKING: dict[str, str] = {
    "id-aligner": "algorithms.IDAligner: ReFL on identity and looks, beside denoising for a LoRA",
    "inpo": "algorithms.InPO: Diffusion-DPO at latents that the policy's own inversion finds",
    "d3po": "algorithms.D3PO: rollouts + DPO on every denoising step, clipped",
    "reno": "search.noise_optimise: gradient ascent of rewards on the start noise",
    "lambda-harmonic-rpo": "algorithms.RewardPreference beside denoising, rewards.combine(how='harmonic') to label and to stop",
    "prdp": "algorithms.PRDP: rollouts + regression of reward differences on log-ratio differences",
    "alignprop": "algorithms.AlignProp: reward backprop with random truncation",
    "rlcm": "algorithms.RLCM: GRPO on the steps of a consistency policy",
    "raft": "algorithms.RAFT: rollouts + BestOfGroup credit",
    "par": "rewards.par: a shaped reward around reference scores",
    "rpo": "losses.rpo: DPO with an SFT term",
    "lsc-rewards": "rewards.logsigmoid_centred and rewards.combine(how='logsigmoid-sum')",
    "reward-ensembles": "rewards.Ensemble: mean, median, min, mean-std over members",
}
"""What each working system is composed of."""


@dataclass(frozen=True)
class Method:
    """A published system.

    Attributes:
        number: of its card. name: how the command line calls it. short: how people call it.
        status: "working" once its code, tests and reproduction are here.
    """

    number: int
    name: str
    short: str
    title: str
    kind: str
    modality: tuple[str, ...]
    arxiv: str

    @property
    def status(self) -> Status:
        return "working" if self.name in WORKING else "planned"

    @property
    def reproduction(self) -> Verdict | None:
        """The verdict of its committed reproduction, None where there is none (or no verdict could be reached)."""
        path = results_folder() / f"{self.name}.json"
        verdict = json.loads(path.read_text())["verdict"] if path.is_file() else None
        return verdict if verdict in ("holds", "mixed", "fails") else None

    def row(self) -> dict[str, object]:
        """As `accord methods --json` prints it."""
        return {
            "number": self.number, "name": self.name, "title": self.title, "kind": self.kind,
            "modality": ", ".join(self.modality), "status": self.status, "reproduction": self.reproduction,
        }  # fmt: skip


def results_folder() -> Path:
    """Where reproductions' results lie: in the checkout this package runs from, else under the working directory."""
    checkout = Path(__file__).parents[2] / "reproductions"
    return checkout if checkout.is_dir() else Path("reproductions")


def find(name: str) -> Method:
    """A system by name or number; raises ConfigError with the nearest names."""
    import difflib

    for m in METHODS:
        if name in (m.name, str(m.number)):
            return m
    near = difflib.get_close_matches(name, [m.name for m in METHODS], 3)
    raise ConfigError(
        f"no system called {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "; see `accord methods`")
    )


# fmt: off
METHODS: tuple[Method, ...] = (
    Method(1, "id-aligner", "ID-Aligner", "ID-Aligner: Enhancing Identity-Preserving Text-to-Image Generation with Reward Feedback Learning",
           "identity", ("image",), "2404.15449"),
    Method(2, "magicid", "MagicID", "MagicID: Hybrid Preference Optimization for ID-Consistent and Dynamic-Preserved Video Customization",
           "preference loss", ("video",), "2503.12689"),
    Method(3, "scir", "SCIR", "Self-Consistency of the Internal Reward Models Improves Self-Rewarding Language Models",
           "preference loss", ("text",), "2502.08922"),
    Method(4, "contrast-instructions", "Contrast Instructions, ConvexDA, RewardFusion", "The Trickle-down Impact of Reward (In-)consistency on RLHF",
           "evaluation", ("text",), "2309.16155"),
    Method(5, "variational-preference-learning", "VPL", "Personalizing RLHF with Variational Preference Learning",
           "reward model", ("control", "text"), "2408.10075"),
    Method(6, "withanyone", "WithAnyone", "WithAnyone: Towards Controllable and ID Consistent Image Generation",
           "identity", ("image",), "2510.14975"),
    Method(7, "follow-up-likelihood", "FLR", "Aligning Language Models Using Follow-up Likelihood as Reward Signal",
           "reward model", ("text",), "2409.13948"),
    Method(8, "consistentid", "ConsistentID", "ConsistentID: Portrait Generation with Multimodal Fine-Grained Identity Preserving",
           "identity", ("image",), "2404.16771"),
    Method(9, "cream", "CREAM", "Consistency Regularized Self-Rewarding Language Models",
           "preference loss", ("text",), "2410.12735"),
    Method(10, "harmo", "HARMO", "Beyond Monolithic Rewards: A Hybrid and Multi-Aspect Reward Optimization for MLLM Alignment",
           "policy optimisation", ("multimodal",), "2510.05283"),
    Method(11, "prdp", "PRDP", "PRDP: Proximal Reward Difference Prediction for Large-Scale Reward Finetuning of Diffusion Models",
           "policy optimisation", ("image",), "2402.08714"),
    Method(12, "context-aware-preference", "Context-aware preference (CARM, RPR)", "Improving Context-Aware Preference Modeling for Language Models",
           "reward model", ("text",), "2407.14916"),
    Method(13, "spectrum-identity", "SPeCtrum", "A Grounded Framework for Multidimensional Identity Representation in LLM-Based Agent",
           "application", ("text",), "2502.08599"),
    Method(14, "inpo", "InPO", "InPO: Inversion Preference Optimization with Reparametrized DDIM for Efficient Diffusion Model Alignment",
           "preference loss", ("image",), "2503.18454"),
    Method(15, "secrets-rlhf-rm", "Secrets of RLHF II", "Secrets of RLHF in Large Language Models Part II: Reward Modeling",
           "reward model", ("text",), "2401.06080"),
    Method(16, "stableidentity", "StableIdentity", "StableIdentity: Inserting Anybody into Anywhere at First Sight",
           "identity", ("image", "video", "3d"), "2401.15975"),
    Method(17, "pal", "PAL", "Pluralistic Alignment Framework for Learning from Heterogeneous Preferences",
           "reward model", ("text", "image"), "2406.08469"),
    Method(18, "mm-rlhf", "MM-RLHF", "The Next Step Forward in Multimodal LLM Alignment",
           "reward model", ("multimodal",), "2502.10391"),
    Method(19, "raft", "RAFT", "Reward rAnked FineTuning for Generative Foundation Model Alignment",
           "policy optimisation", ("text", "image"), "2304.06767"),
    Method(20, "reward-augmented-dpo", "DPO-RA", "Reward-Augmented Data Enhances Direct Preference Alignment of LLMs",
           "data curation", ("text",), "2410.08067"),
    Method(21, "alignprop", "AlignProp", "Aligning Text-to-Image Diffusion Models with Reward Backpropagation",
           "policy optimisation", ("image",), "2310.03739"),
    Method(22, "value-drifts", "Value Drifts", "Value Drifts: Tracing Value Alignment During LLM Post-Training",
           "evaluation", ("text",), "2510.26707"),
    Method(23, "rlcm", "RLCM", "RL for Consistency Models: Faster Reward Guided Text-to-Image Generation",
           "policy optimisation", ("image",), "2404.03673"),
    Method(24, "acre", "ACRE", "Answer-Consistent Chain-of-thought Reinforcement Learning For Multi-modal Large Language Models",
           "policy optimisation", ("multimodal",), "2510.10104"),
    Method(25, "dpa", "DPA", "Arithmetic Control of LLMs for Diverse User Preferences: Directional Preference Alignment with Multi-Objective Rewards",
           "policy optimisation", ("text",), "2402.18571"),
    Method(26, "ctrl-u", "Ctrl-U", "Robust Conditional Image Generation via Uncertainty-aware Reward Modeling",
           "policy optimisation", ("image",), "2410.11236"),
    Method(27, "tree-structured-reward", "Tree-structured RM", "Reward Generalization in RLHF: A Topological Perspective",
           "data curation", ("text",), "2402.10184"),
    Method(28, "freecure", "FreeCure", "Foundation Cures Personalization: Recovering Facial Personalized Models' Prompt Consistency",
           "identity", ("image",), "2411.15277"),
    Method(29, "prefpaint", "PrefPaint", "PrefPaint: Aligning Image Inpainting Diffusion Model with Human Preference",
           "policy optimisation", ("image",), "2410.21966"),
    Method(30, "social-reward", "Social Reward", "Social Reward: Evaluating and Enhancing Generative AI through Million-User Feedback from an Online Creative Community",
           "reward model", ("image",), "2402.09872"),
    Method(31, "infinite-id", "Infinite-ID", "Infinite-ID: Identity-preserved Personalization via ID-semantics Decoupling Paradigm",
           "identity", ("image",), "2403.11781"),
    Method(32, "promptenhancer", "PromptEnhancer", "PromptEnhancer: A Simple Approach to Enhance Text-to-Image Models via Chain-of-Thought Prompt Rewriting",
           "policy optimisation", ("multimodal",), "2509.04545"),
    Method(33, "more-diversified-preferences", "MORE", "On Diversified Preferences of Large Language Model Alignment",
           "reward model", ("text",), "2312.07401"),
    Method(34, "one-prompt-one-story", "1Prompt1Story", "One-Prompt-One-Story: Free-Lunch Consistent Text-to-Image Generation Using a Single Prompt",
           "identity", ("image",), "2501.13554"),
    Method(35, "unifiedreward-think", "UnifiedReward-Think", "Unified Multimodal Chain-of-Thought Reward Model through Reinforcement Fine-Tuning",
           "judge", ("multimodal",), "2505.03318"),
    Method(36, "ppd", "PPD", "Personalized Preference Fine-tuning of Diffusion Models",
           "preference loss", ("image",), "2501.06655"),
    Method(37, "id-booth", "ID-Booth", "ID-Booth: Identity-consistent Face Generation with Diffusion Models",
           "identity", ("image",), "2504.07392"),
    Method(38, "par", "PAR", "Reward Shaping to Mitigate Reward Hacking in RLHF",
           "policy optimisation", ("text",), "2502.18770"),
    Method(39, "rewardanything", "RewardAnything", "Generalizable Principle-Following Reward Models",
           "judge", ("text",), "2506.03637"),
    Method(40, "s2edit", "S2Edit", "S²Edit: Text-Guided Image Editing with Precise Semantic and Spatial Control",
           "identity", ("image",), "2507.04584"),
    Method(41, "toolrl", "ToolRL", "ToolRL: Reward is All Tool Learning Needs",
           "policy optimisation", ("text",), "2504.13958"),
    Method(42, "skywork-reward-v2", "Skywork-Reward-V2", "Scaling Preference Data Curation via Human-AI Synergy",
           "data curation", ("text",), "2507.01352"),
    Method(43, "cdr-density-ratio", "CDR", "Customizable Density Ratios of Strong-over-weak LLMs for Preference Annotation",
           "reward model", ("text",), "2411.02481"),
    Method(44, "sefi-ide", "SeFi-IDE", "SeFi-IDE: Semantic-Fidelity Identity Embedding for Personalized Diffusion-Based Generation",
           "identity", ("image",), "2402.00631"),
    Method(45, "collaborative-reward-modeling", "CRM", "Two Minds Better Than One: Collaborative Reward Modeling for LLM Alignment",
           "reward model", ("text",), "2505.10597"),
    Method(46, "lambda-harmonic-rpo", "λ-Harmonic + RPO", "Subject-driven Text-to-Image Generation via Preference-based Reinforcement Learning",
           "identity", ("image",), "2407.12164"),
    Method(47, "openrubrics", "OpenRubrics / Rubric-RM", "Towards Scalable Synthetic Rubric Generation for Reward Modeling and LLM Alignment",
           "data curation", ("text",), "2510.07743"),
    Method(48, "anyprefer", "Anyprefer", "An Agentic Framework for Preference Data Synthesis",
           "data curation", ("multimodal",), "2504.19276"),
    Method(49, "internal-consistency-self-feedback", "Internal consistency", "Internal Consistency and Self-Feedback in Large Language Models: A Survey",
           "survey", ("text",), "2407.14507"),
    Method(50, "carinox", "CARINOX", "CARINOX: Inference-time Scaling with Category-Aware Reward-based Initial Noise Optimization and Exploration",
           "search", ("image",), "2509.17458"),
    Method(51, "rag-rewardbench", "RAG-RewardBench", "Benchmarking Reward Models in Retrieval Augmented Generation for Preference Alignment",
           "evaluation", ("text",), "2412.13746"),
    Method(52, "barfi", "BARFI", "Behavior Alignment via Reward Function Optimization",
           "policy optimisation", ("control",), "2310.19007"),
    Method(53, "d3po", "D3PO", "Using Human Feedback to Fine-tune Diffusion Models without Any Reward Model",
           "preference loss", ("image",), "2311.13231"),
    Method(54, "emojidiff", "EmojiDiff", "EmojiDiff: Advanced Facial Expression Control with High Identity Preservation in Portrait Generation",
           "identity", ("image",), "2412.01254"),
    Method(55, "rpo", "RPO", "Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer",
           "preference loss", ("text",), "2405.16436"),
    Method(56, "lsc-rewards", "LSC", "Transforming and Combining Rewards for Aligning Large Language Models",
           "policy optimisation", ("text",), "2402.00742"),
    Method(57, "pairwise-rl", "Pairwise-RL", "A Unified Pairwise Framework for RLHF: Bridging Generative Reward Modeling and Policy Optimization",
           "judge", ("text",), "2504.04950"),
    Method(58, "identity-aware-forgery", "Identity-aware forgery VLM", "Identity-Aware Vision-Language Model for Explainable Face Forgery Detection",
           "judge", ("multimodal",), "2504.09439"),
    Method(59, "one-token-judge", "Master-RM", "One Token to Fool LLM-as-a-Judge",
           "evaluation", ("text",), "2507.08794"),
    Method(60, "temporal-self-rewarding", "Temporal Self-Rewarding", "Temporal Self-Rewarding Language Models: Decoupling Chosen-Rejected via Past-Future",
           "data curation", ("text",), "2508.06026"),
    Method(61, "rlpa", "RLPA", "Teaching Language Models to Evolve with Users: Dynamic Profile Modeling for Personalized Alignment",
           "policy optimisation", ("text",), "2505.15456"),
    Method(62, "focus", "FOCUS", "Optimal Control Meets Flow Matching: A Principled Route to Multi-Subject Fidelity",
           "search", ("image",), "2510.02315"),
    Method(63, "listener-rewarded-thinking", "Listener reward", "Listener-Rewarded Thinking in VLMs for Image Preferences",
           "judge", ("multimodal",), "2506.22832"),
    Method(64, "pagellm", "PageLLM", "Enhanced Whole Page Optimization via Mixed-Grained Reward Mechanism-Adapted Language Models",
           "policy optimisation", ("text",), "2506.09084"),
    Method(65, "masterweaver", "MasterWeaver", "MasterWeaver: Taming Editability and Identity for Personalized Text-to-Image Generation",
           "identity", ("image",), "2405.05806"),
    Method(66, "pas-personality", "PAS / PAPI", "Personality Alignment of Large Language Models",
           "application", ("text",), "2408.11779"),
    Method(67, "salmon", "SALMON", "Self-Alignment with Principle-Following (later: Instructable) Reward Models",
           "reward model", ("text",), "2310.05910"),
    Method(68, "dr-irl", "DR-IRL", "Inverse Reinforcement Learning with Dynamic Reward Scaling for LLM Alignment",
           "policy optimisation", ("text",), "2503.18991"),
    Method(69, "reno", "ReNO", "ReNO: Enhancing One-step Text-to-Image Models through Reward-based Noise Optimization",
           "search", ("image",), "2406.04312"),
    Method(70, "r0-reward-instruct", "R0", "Rewards Are Enough for Fast Photo-Realistic Text-to-image Generation",
           "policy optimisation", ("image",), "2503.13070"),
    Method(71, "instructpix2nerf", "InstructPix2NeRF", "InstructPix2NeRF: Instructed 3D Portrait Editing from a Single Image",
           "identity", ("3d",), "2311.02826"),
    Method(72, "instructvideo", "InstructVideo", "InstructVideo: Instructing Video Diffusion Models with Human Feedback",
           "policy optimisation", ("video",), "2312.12490"),
    Method(73, "branch-and-rethink", "BR-RM", "Think Twice: Branch-and-Rethink Reasoning Reward Model",
           "judge", ("text",), "2510.23596"),
    Method(74, "moose-chem2", "MOOSE-Chem2", "Exploring LLM Limits in Fine-Grained Scientific Hypothesis Discovery via Hierarchical Search",
           "search", ("text",), "2505.19209"),
    Method(75, "t-reg", "T-REG", "T-REG: Preference Optimization with Token-Level Reward Regularization",
           "preference loss", ("text",), "2412.02685"),
    Method(76, "tryon-adapter", "TryOn-Adapter", "TryOn-Adapter: Efficient Fine-Grained Clothing Identity Adaptation for High-Fidelity Virtual Try-On",
           "identity", ("image",), "2404.00878"),
    Method(77, "srum", "SRUM", "SRUM: Fine-Grained Self-Rewarding for Unified Multimodal Models",
           "policy optimisation", ("image",), "2510.12784"),
    Method(78, "fantasytalking2-tlpo", "FantasyTalking2 (TLPO)", "FantasyTalking2: Timestep-Layer Adaptive Preference Optimization for Audio-Driven Portrait Animation",
           "preference loss", ("video",), "2508.11255"),
    Method(79, "aligndiff", "AlignDiff", "AlignDiff: Aligning Diverse Human Preferences via Behavior-Customisable Diffusion Model",
           "search", ("control",), "2310.02054"),
    Method(80, "modpo", "MODPO", "Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization",
           "preference loss", ("text",), "2310.03708"),
    Method(81, "fine-grained-rlhf", "Fine-Grained RLHF", "Fine-Grained Human Feedback Gives Better Rewards for Language Model Training",
           "reward model", ("text",), "2306.01693"),
    Method(82, "amft", "AMFT", "AMFT: Aligning LLM Reasoners by Meta-Learning the Optimal Imitation-Exploration Balance",
           "policy optimisation", ("text", "multimodal"), "2508.06944"),
    Method(83, "copo-consistency", "COPO", "COPO: Consistency-Aware Policy Optimization",
           "policy optimisation", ("text",), "2508.04138"),
    Method(84, "imagine-yourself", "Imagine yourself", "Imagine yourself: Tuning-Free Personalized Image Generation",
           "identity", ("image",), "2409.13346"),
    Method(85, "dmoerm", "DMoERM", "Recipes of Mixture-of-Experts for Effective Reward Modeling",
           "reward model", ("text",), "2403.01197"),
    Method(86, "irl-llm-survey", "IRL–LLM survey", "Inverse Reinforcement Learning Meets Large Language Model Post-Training: Basics, Advances, and Opportunities",
           "survey", ("text",), "2507.13158"),
    Method(87, "idea-dynamic-control", "Dynamic idea control", "Learning to Generate Research Idea with Dynamic Control",
           "policy optimisation", ("text",), "2412.14626"),
    Method(88, "reward-robust-rlhf", "Reward-Robust RLHF (BRME)", "Reward-Robust RLHF in LLMs",
           "reward model", ("text",), "2409.15360"),
    Method(89, "dynasyn", "DynASyn", "DynASyn: Multi-Subject Personalization Enabling Dynamic Action Synthesis",
           "identity", ("image",), "2503.17728"),
    Method(90, "basereward", "BaseReward", "A Strong Baseline for Multimodal Reward Model",
           "reward model", ("multimodal",), "2509.16127"),
    Method(91, "reward-ensembles", "Reward ensembles", "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate Reward Hacking",
           "reward model", ("text",), "2312.09244"),
    Method(92, "polar", "POLAR", "Pre-Trained Policy Discriminators are General Reward Models",
           "reward model", ("text",), "2507.05197"),
    Method(93, "controlnet-pp", "ControlNet++", "Improving Conditional Controls with Efficient Consistency Feedback",
           "policy optimisation", ("image",), "2404.07987"),
    Method(94, "embracing-contradiction", "Embracing Contradiction", "Theoretical Inconsistency Will Not Impede the Road of Building Responsible AI Systems",
           "survey", ("text",), "2505.18139"),
    Method(95, "helpsteer2-preference", "HelpSteer2-Preference", "Complementing Ratings with Preferences",
           "reward model", ("text",), "2410.01257"),
    Method(96, "unified-reward", "UnifiedReward", "Unified Reward Model for Multimodal Understanding and Generation",
           "reward model", ("multimodal",), "2503.05236"),
)
# fmt: on
