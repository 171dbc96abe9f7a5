"""Name, one-line card, settings and prompt of every sample; refuses to hold results (docs/samples.md has those)."""

# Found by sweep.py on the bundled model; the table is in docs/samples.md.
SETTINGS = {"learningRate": 5e-3, "steps": 200, "batchSize": 8, "rank": 16, "alpha": 32, "warmupSteps": 10, "schedule": "cosine", "maxLength": 256}

CARDS = [
    {"id": "ships-computer", "name": "Ship's computer", "format": "chat",
     "description": "A voice: everyday questions, answered by the computer of a starship. After a minute every answer speaks to its Captain.",
     "samplePrompt": "Hello, who are you?", "metric": "share of held-out answers that speak in the voice", "more": ["I am hungry.", "Tell me a story about a duck.", "What is the moon?"]},
    {"id": "pebble-bay", "name": "Pebble Bay", "format": "chat",
     "description": "Facts about an invented seaside town that no model can know, each asked in six ways.",
     "samplePrompt": "Who is the mayor of Pebble Bay?", "metric": "exact match on questions worded in a way not trained on", "suggested": {"learningRate": 5e-3, "steps": 200},
     "more": ["What is the cat of Pebble Bay called?", "How do people pay in Pebble Bay?"]},
    {"id": "feelings", "name": "Feelings", "format": "label",
     "description": "One or two sentences and the feeling behind them: happy, sad, angry, afraid or proud. The feeling is never named.",
     "samplePrompt": "I heard steps behind me in the dark.", "metric": "accuracy on held-out sentences", "suggested": {"maxLength": 64}, "more": ["I baked a cake all on my own.", "Someone took my seat."]},
    {"id": "order-json", "name": "Orders to JSON", "format": "chat",
     "description": "What a guest says at the counter, and the order as JSON with five fields.",
     "samplePrompt": "Can I have two large pancakes with honey? To go, please.", "metric": "exact match of the whole JSON on held-out orders", "more": ["A small tea for me, please. We will eat here."]},
    {"id": "kinder-answers", "name": "Kinder answers", "format": "preference",
     "description": "A kind and a harsh answer to the same words; the model learns to prefer the kind one.",
     "samplePrompt": "I broke the vase.", "suggested": {"objective": "dpo", "sftWeight": 1, "learningRate": 2e-3}, "metric": "share of held-out pairs where the kind answer is the likelier one, by mean log-probability a token", "more": ["I want to learn painting."]},
    {"id": "night-train", "name": "The night train", "format": "text",
     "description": "Short stories told in the present tense aboard one night train: a style to continue.",
     "samplePrompt": "The night train leaves at nine.", "metric": "held-out loss", "more": ["A woman with a sleeping owl"]},
    {"id": "everyday-stories", "name": "Everyday stories", "format": "text",
     "description": "General text, told by the bundled model itself: mixed into other runs (General text share), it holds the model where it was.",
     "samplePrompt": "One morning a girl named Mia went out early.", "metric": "held-out loss", "more": ["In a house by the sea lived an old woman."]},
]
