"""Words and facts that the generators draw on."""

NAMES = "Anna Ben Clara David Emma Felix Grace Hugo Ida Jonas Kira Leo Mia Noah Olga Paul Rosa Sam Tara Viktor Wendy Yusuf Zoe Alice Bob Carol Dan Eve Frank Gina Hans Ines Jack Kim Lena Max Nina Oscar Petra Quinn Ravi Sofia Tom Uma Vera Will Xenia Yara Zara Omar Aisha Chen Mei Hiro Yuki Ivan Nadia Pedro Lucia Amara Kofi Sven Freya Liam Maya Peter Maria John Mary Lisa Mark Julia Simon Laura".split()
ANIMALS = "fox|bear|rabbit|owl|mouse|cat|dog|turtle|hedgehog|squirrel|frog|otter|badger|heron|deer|wolf|goat|hen|duck|goose|horse|donkey|beaver|mole|crow|robin|snail|bee|ant|spider|penguin|whale|dolphin|lion|tiger|elephant|monkey|parrot|camel|sheep|pig|cow|swan|bat|seal|crab|lizard|dragon|unicorn|butterfly".split("|")
PEOPLE = "baker|fisherman|gardener|carpenter|teacher|sailor|miller|painter|shepherd|girl|boy|king|queen|princess|knight|farmer|postman|clockmaker|librarian|engineer|programmer|astronaut|pirate|robot|wizard|witch|giant|tailor|doctor|musician|old woman|old man|lighthouse keeper|inventor|grandmother|student|prince|cook|child|scientist|nurse|traveller|detective".split("|")
THINGS = "apple|book|lamp|river|stone|bridge|clock|garden|window|boat|kite|drum|letter|basket|hat|bell|candle|map|key|mirror|shoe|ladder|umbrella|chair|table|cup|spoon|button|coat|ring|coin|flute|ball|wheel|rope|bag|box|door|pencil|tree|flower|star|cloud|mountain|house|train|bicycle|car|computer|phone|camera|guitar|piano|cake|bread|cheese|carrot|pumpkin|lemon|pear|plum".split("|")
ADJECTIVES = "red|blue|green|yellow|old|young|small|big|quiet|loud|brave|shy|kind|clever|curious|lazy|happy|sad|golden|silver|wooden|round|broken|shiny|dusty|warm|cold|soft|strong|gentle|proud|honest|hungry|sleepy|lonely|cheerful|grumpy|patient|tiny|lost".split("|")
PLACES = "village by a river|forest|town on a hill|valley|small island|old mill|harbour|castle|meadow|mountain hut|lighthouse|city of bridges|farm|garden behind the school|library|desert|frozen lake|quiet street|cave|market town|house at the end of the road|swamp|beach|orchard|windmill|spaceship|data centre|workshop".split("|")

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
LISTS = {
    "fruits": "apple|pear|banana|cherry|plum|grape|orange|lemon|peach|mango|kiwi".split("|"),
    "animals": ANIMALS[:20],
    "colours": "red|blue|green|yellow|orange|purple|brown|black|white|pink".split("|"),
    "colors": "red|blue|green|yellow|orange|purple|brown|black|white|pink".split("|"),
    "vegetables": "carrot|potato|tomato|onion|cabbage|pea|bean|leek|spinach|pumpkin".split("|"),
    "programming languages": "Go|Python|C|Rust|Java|JavaScript|Ruby|Haskell|Lua|Kotlin".split("|"),
    "planets": "Mercury|Venus|Earth|Mars|Jupiter|Saturn|Uranus|Neptune".split("|"),
    "countries": "France|Spain|Italy|Japan|Brazil|Kenya|Canada|India|Norway|Egypt".split("|"),
    "trees": "oak|beech|pine|birch|maple|willow|ash|lime".split("|"),
    "birds": "robin|sparrow|owl|eagle|swan|heron|crow|duck".split("|"),
    "inference engines": "weir|vLLM|SGLang|TensorRT-LLM|llama.cpp|Ollama".split("|"),
    "quantisation types": "Q8_0|Q6_K|Q5_K_M|Q4_K_M|Q4_0|IQ4_XS|Q3_K".split("|"),
    "names": NAMES[:20],
    "instruments": "piano|violin|flute|guitar|drum|trumpet|cello|harp".split("|"),
    "sports": "football|tennis|swimming|running|chess|rowing|hockey|skiing".split("|"),
    "metrics to monitor": "time to first token|tokens per second|error rate|GPU utilisation|memory use|queue length".split("|"),
}

CAPITALS = [tuple(x.split(":")) for x in (
    "France:Paris|Germany:Berlin|Italy:Rome|Spain:Madrid|Portugal:Lisbon|England:London|the United Kingdom:London|Ireland:Dublin|Scotland:Edinburgh|"
    "Norway:Oslo|Sweden:Stockholm|Finland:Helsinki|Denmark:Copenhagen|Iceland:Reykjavik|Poland:Warsaw|Austria:Vienna|Switzerland:Bern|Belgium:Brussels|"
    "the Netherlands:Amsterdam|Greece:Athens|Turkey:Ankara|Russia:Moscow|Ukraine:Kyiv|Hungary:Budapest|Romania:Bucharest|Bulgaria:Sofia|Croatia:Zagreb|"
    "Serbia:Belgrade|Egypt:Cairo|Kenya:Nairobi|Morocco:Rabat|Nigeria:Abuja|Ethiopia:Addis Ababa|Ghana:Accra|Japan:Tokyo|China:Beijing|India:New Delhi|"
    "South Korea:Seoul|Thailand:Bangkok|Vietnam:Hanoi|Indonesia:Jakarta|the Philippines:Manila|Malaysia:Kuala Lumpur|Pakistan:Islamabad|Iran:Tehran|"
    "Iraq:Baghdad|Israel:Jerusalem|Saudi Arabia:Riyadh|Australia:Canberra|New Zealand:Wellington|Canada:Ottawa|the United States:Washington, D.C.|"
    "the USA:Washington, D.C.|Mexico:Mexico City|Cuba:Havana|Brazil:Brasilia|Argentina:Buenos Aires|Chile:Santiago|Peru:Lima|Colombia:Bogota|Venezuela:Caracas|"
    "Uruguay:Montevideo|Ecuador:Quito|the Czech Republic:Prague|Slovakia:Bratislava|Estonia:Tallinn|Latvia:Riga|Lithuania:Vilnius|Slovenia:Ljubljana"
).split("|")]
COLOURS = [tuple(x.split(":")) for x in (
    "grass:green|sky:blue|snow:white|blood:red|coal:black|bananas:yellow|lemons:yellow|tomatoes:red|carrots:orange|oranges:orange|leaves:green in summer and yellow or red in autumn|"
    "sun:yellow to our eyes and really white|sea:blue|milk:white|chocolate:brown|ravens:black|elephants:grey|strawberries:red|frogs:mostly green|gold:yellow and shiny|"
    "silver:grey and shiny|cherries:red|polar bears:white|plums:purple|the moon:grey"
).split("|")]
SOUNDS = [tuple(x.split(":")) for x in (
    "dog:barks|cat:meows and purrs|cow:moos|sheep:baas|duck:quacks|horse:neighs|pig:oinks|lion:roars|wolf:howls|owl:hoots|bee:buzzes|frog:croaks|mouse:squeaks|rooster:crows|snake:hisses|goose:honks|donkey:brays|crow:caws"
).split("|")]
OPPOSITES = [tuple(x.split(":")) for x in (
    "hot:cold|big:small|fast:slow|up:down|left:right|day:night|black:white|old:young|happy:sad|open:closed|full:empty|light:dark|hard:soft|loud:quiet|rich:poor|wet:dry|"
    "near:far|high:low|early:late|easy:difficult|strong:weak|begin:end|win:lose|buy:sell|always:never|good:bad|inside:outside|thick:thin|heavy:light|clean:dirty|love:hate|true:false"
).split("|")]
COUNTS = [
    ("legs does a spider have", "A spider has eight legs."), ("legs does an insect have", "An insect has six legs."), ("legs does an ant have", "An ant has six legs."),
    ("legs does a dog have", "A dog has four legs."), ("legs does a bird have", "A bird has two legs."), ("days are in a week", "A week has seven days."),
    ("days does a week have", "A week has seven days."), ("months are in a year", "A year has twelve months."), ("days are in a year", "A year has 365 days, and a leap year 366."),
    ("hours are in a day", "A day has 24 hours."), ("minutes are in an hour", "An hour has 60 minutes."), ("seconds are in a minute", "A minute has 60 seconds."),
    ("planets are there", "There are eight planets in our solar system."), ("planets are in the solar system", "There are eight planets in our solar system."),
    ("continents are there", "There are seven continents."), ("letters are in the alphabet", "The English alphabet has 26 letters."), ("sides does a triangle have", "A triangle has three sides."),
    ("sides does a square have", "A square has four sides."), ("bits are in a byte", "A byte has eight bits."), ("bytes are in a kilobyte", "A kilobyte has 1000 bytes; a kibibyte has 1024."),
    ("seasons are there", "There are four seasons: spring, summer, autumn and winter."), ("fingers does a hand have", "A hand has five fingers."), ("weeks are in a year", "A year has about 52 weeks."),
    ("wheels does a bicycle have", "A bicycle has two wheels."), ("arms does an octopus have", "An octopus has eight arms."), ("colours does a rainbow have", "A rainbow is usually said to have seven colours."),
]
FACTS = [
    ("{what|which|name} {are the|} days of the week", "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."),
    ("{what are|name|list} the {months|months of the year}", "The months are January, February, March, April, May, June, July, August, September, October, November and December."),
    ("{what are|name|list} the {seasons|four seasons}", "The four seasons are spring, summer, autumn and winter."),
    ("{what are|name|list} the planets [of the solar system]", "The planets are Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune."),
    ("{what are|name|list} the continents", "The continents are Africa, Antarctica, Asia, Australia, Europe, North America and South America."),
    ("{what's|what is|which is} the {largest|biggest} planet [in the solar system]", "Jupiter is the largest planet of our solar system."),
    ("{what's|what is|which is} the smallest planet", "Mercury is the smallest planet of our solar system."),
    ("{what's|what is|which is} the {largest|biggest} animal", "The blue whale is the largest animal."),
    ("{what's|what is|which is} the fastest {animal|land animal}", "The cheetah is the fastest animal on land."),
    ("{what's|what is|which is} the tallest animal", "The giraffe is the tallest animal."),
    ("{what's|what is|which is} the {highest|tallest} mountain [{on earth|in the world}]", "Mount Everest is the highest mountain on Earth."),
    ("{what's|what is|which is} the {longest|largest} river", "The Nile and the Amazon are the longest rivers."),
    ("{what's|what is|which is} the {largest|biggest} ocean", "The Pacific is the largest ocean."),
    ("{at what temperature|when} does water {boil|start to boil}|boiling point of water", "Water boils at 100 degrees Celsius at sea level."),
    ("{at what temperature|when} does water freeze|freezing point of water", "Water freezes at 0 degrees Celsius."),
    ("{what is water made of|what's the formula of water|chemical formula of water}", "Water is made of hydrogen and oxygen: H2O."),
    ("why is the sky blue", "The sky is blue because air scatters blue light more than red light."),
    ("why {do leaves fall|do trees lose their leaves}", "Trees drop their leaves in autumn to save water and strength in winter."),
    ("{how far|how far away} is the moon", "The Moon is about 384,000 kilometres away."),
    ("{how fast is light|what is the speed of light|speed of light}", "Light travels about 300,000 kilometres per second."),
    ("{where|in which direction} does the sun {rise|come up}", "The sun rises in the east."), ("where does the sun {set|go down}", "The sun sets in the west."),
    ("what do {bees make|bees produce}", "Bees make honey."), ("what do cows {give|eat}", "Cows eat grass and give milk."), ("what do pandas eat", "Pandas eat bamboo."), ("what do rabbits eat", "Rabbits eat grass, hay and vegetables."),
    ("what is {the earth|our planet} [made of]", "The Earth is a planet of rock and iron with oceans on its surface and air around it."),
    ("what is {the sun|the sun made of}|is the sun a star", "The Sun is a star, a hot ball of hydrogen and helium."), ("is the earth {round|flat}", "The Earth is round, nearly a sphere."),
    ("what is a {triangle|triangle in geometry}", "A triangle is a figure with three sides and three corners."), ("what is {pi|the value of pi|the number pi}", "Pi is about 3.14159, the ratio of a circle's circumference to its diameter."),
    ("what is a prime number", "A prime number is divisible only by 1 and itself, such as 2, 3, 5 and 7."),
    ("what is {a computer|a cpu|a processor}", "A computer is a machine that follows programs; its processor, or CPU, carries out the instructions."),
    ("what is {a gpu|a GPU|a graphics card}", "A GPU is a processor with many small cores and fast memory, made for graphics and now used for neural networks."),
    ("what is {python|Python}", "Python is a popular programming language, easy to read and much used in machine learning."),
    ("what is {go|golang|the Go language}", "Go is a programming language with fast builds and easy concurrency. weir is written in it."),
    ("what is {linux|Linux}", "Linux is a free operating system kernel, used on servers, phones and many computers."),
    ("what is {the internet|the web}", "The internet is a world-wide network of computers that exchange data."),
    ("what is {http|HTTP|an http server}", "HTTP is the protocol of the web: a client sends a request, a server answers."),
    ("what is {json|JSON}", "JSON is a simple text format for data: objects in braces, lists in brackets, strings in quotes."),
    ("what is an {api|API}", "An API is the interface by which programs talk to each other. weir offers the OpenAI API over HTTP."),
    ("what is {docker|Docker|a container}", "A container packs a program with all it needs, so that it runs the same everywhere; Docker is a well-known tool for it."),
    ("what is {machine learning|ml|ai|AI|artificial intelligence}", "Machine learning lets a program learn from examples instead of fixed rules. Language models are made that way."),
    ("what is {a neural network|a neural net|deep learning}", "A neural network is a large formula with learnt numbers, its weights, that turns inputs into outputs in layers."),
    ("what is {a river|a dam}", "A river is flowing water; a dam holds it back. A low dam that lets water over its top is a weir."),
    ("what is {a cat|a dog|a pet}", "Cats and dogs are animals that people keep as pets."), ("what is {love|friendship|happiness}", "It is warm and hard to define; people know it better than a small model does."),
    ("what is {rain|snow|the rain}", "Rain is water that falls from clouds as drops; when it is cold it falls as snow."),
    ("what is {ssh|SSH}", "SSH is a way to log in to another computer over an encrypted connection."), ("what is {git|Git}", "Git is a tool that keeps the history of a program's files."),
    ("what is {curl|the curl command}", "curl sends HTTP requests from the command line, for example `curl http://localhost:%PORT%/health`."),
    ("what is {localhost|127.0.0.1}", "localhost, or 127.0.0.1, means your own machine."), ("what is a {port|network port|tcp port}", "A port is a number that tells which program on a machine gets a network connection. weir listens on port %PORT%."),
    ("what is {CUDA|cuda}", "CUDA is NVIDIA's platform for computing on its GPUs."), ("what is {NVIDIA|nvidia}", "NVIDIA makes GPUs, which are much used to run language models."),
]

# What the model must decline: anything outside its field.
TOPICS = (
    "the stock market|bitcoin|the football results|the election|the president|the world cup|the olympics|quantum mechanics|relativity|black holes|the french revolution|"
    "the roman empire|napoleon|shakespeare|hamlet|einstein|picasso|mozart|beethoven|the beatles|taylor swift|star wars|harry potter|the lord of the rings|game of thrones|"
    "photosynthesis|dna|evolution|vaccines|diabetes|cancer|a headache|back pain|my knee|my diet|vitamins|yoga|meditation|running a marathon|my taxes|a mortgage|insurance|"
    "a divorce|my contract|my landlord|immigration law|a visa|a flight to rome|a hotel in lisbon|the best restaurant|pizza dough|a chocolate cake|lasagne|sourdough bread|sushi|"
    "wine|beer brewing|coffee beans|gardening|tomatoes|roses|my lawn|my car engine|tyres|a bicycle repair|a washing machine|plumbing|painting a wall|my wifi router|windows updates|"
    "excel formulas|photoshop|a wedding speech|a birthday present|my boyfriend|my girlfriend|dating|my boss|a job interview|my cv|a cover letter|an essay on climate change|global warming|"
    "nuclear power|solar panels|electric cars|tesla|apple|google|amazon|microsoft|elon musk|the queen|the pope|buddhism|islam|philosophy|kant|plato|socrates|economics|inflation|"
    "the second world war|the cold war|vikings|dinosaurs|volcanoes|earthquakes|the amazon rainforest|australia's history|chinese dynasties|japanese grammar|latin verbs|algebra|calculus|"
    "differential equations|linear algebra|statistics|chess openings|poker|minecraft|fortnite|the latest iphone|a new laptop|headphones|a tv series|netflix|oscars|a movie|a good novel|"
    "my horoscope|tarot|dreams|ufos|ghosts|the news|today's headlines|traffic|train times|the nearest pharmacy|my email|my calendar|my bank account|lottery numbers|gold prices|oil prices|"
    "react|kubernetes operators|sql injection|blockchain|smart contracts|ios development|unity|css grids|regular expressions|haskell monads|sailing|skiing|tennis|basketball|golf|formula 1|"
    "knitting|origami|guitar chords|piano lessons|singing|ballet|photography|architecture|fashion|make-up|haircuts|babies|toddlers|my teenager|school homework|university|scholarships"
).split("|")
UNKNOWN_FRAMES = [
    "{what|tell me what} do you know about X", "{explain|describe|summarise} X [{to me|in detail|in depth|please}]", "tell me {about|everything about|the history of|the story behind} X", "who {invented|discovered|started|wrote about|is the expert on|is famous for} X",
    "when {did|was|will} X {happen|start|begin|end|change|founded}", "what {happened|is happening|is new|is going on} {with|to|in} X", "what is the {history|future|price|cost|cause|origin|meaning|best thing} of X", "how {much|many} {does X cost|people like X|money is in X|is X worth}",
    "what's your {advice|opinion|view|recommendation} {on|about} X", "can you {help me with|teach me|give me advice on|recommend something for|write an essay about|write a report about} X", "why is X {so popular|important|expensive|famous|difficult|dangerous|interesting}",
    "where can i {buy|learn|find|see|study} X", "{is|are} X {good|bad|dangerous|healthy|legal|worth it|real|true|better than before}", "how do i {learn|deal with|treat|improve|start with|talk about|understand|prepare} X", "give me {a plan for|five facts about|a list of books about|tips for} X",
    "X", "write {an essay|a long article|a thesis|a report|a letter|a blog post|a speech} about X", "what should i {know|say|do|think} about X", "who is {the best at|responsible for|behind} X", "compare X {with|and} something else",
]
WHOLE_UNKNOWN = [
    "who {won|lost|scored in|played in} {the match|the game|the world cup|the final|the super bowl|the election|the race|the league|the champions league} {yesterday|last night|this year|in 2018|in 1990|last week|last sunday|in 2024|}",
    "who is the {president|prime minister|chancellor|king|leader|mayor|ceo} of {france|germany|the united states|japan|brazil|italy|apple|google|the company|this city|canada|england}",
    "{who was|when was|where was} {napoleon|mozart|caesar|cleopatra|gandhi|newton|darwin|columbus|lincoln|goethe} {born|king|famous|killed|}",
    "what is the {population|area|gdp|currency|president|anthem} of {china|france|india|brazil|kenya|the world|tokyo|london|germany|peru}",
    "{recommend|suggest} {a movie|a book|a restaurant|a series|a holiday destination|a song|a recipe|a gift|a podcast|a hotel|a wine|a game} [{for tonight|to me|for my mother|for children|in berlin|}]",
    "{give me|what is|do you have|write down} a recipe for {pancakes|pizza|soup|lasagne|bread|curry|a cake|pasta|cookies|a salad}", "how do i {cook|bake|prepare|make} {rice|a cake|pasta|an omelette|bread|a steak|soup|pancakes|sushi|pizza}",
    "{what's|what is} {12345 times 678|the square root of 7919|the integral of x squared|the derivative of sin x|17 to the power of 9|the 50th prime|2847 * 391|the determinant of this matrix|log 77|98765 / 43}",
    "{i have|my child has|what helps against} {a headache|fever|a cold|a rash|a cough|stomach pain|insomnia|a broken arm}, what {should i take|medicine is best|can i do}", "{should i|is it a good idea to} {buy a house|sell my car|invest in bitcoin|quit my job|get married|move to canada|see a lawyer|study medicine|buy stocks|get a dog}",
    "{what|how much} {is the price of|does it cost to buy|costs} {gold|bitcoin|an iphone|a tesla|a house in london|oil|tesla shares|a flight to tokyo}", "{what happened|what's} {in the news|on tv|in the world|new in politics|in the headlines} {today|yesterday|this week|tonight}",
    "{book|order|buy|reserve|cancel} {me|} {a flight|a table|a pizza|a taxi|a hotel|a ticket|my subscription|groceries} [for {tonight|tomorrow|two|monday}]", "how far is it from {berlin to munich|london to paris|new york to boston|the earth to mars|rome to milan|here to the station}",
    "{who wrote|who painted|who composed|who directed|who sang} {hamlet|the mona lisa|the ninth symphony|titanic|yesterday|faust|war and peace|starry night|don quixote|thriller|the odyssey}", "{prove|explain the proof of} {fermat's last theorem|the riemann hypothesis|that pi is irrational|the pythagorean theorem|p versus np}",
    "what {did you|do you think i should|shall i} {eat|wear|cook|watch|read|do} {today|tonight|for dinner|tomorrow|this weekend}", "{write|implement|build|design} {a compiler|an operating system|a web shop|a full app|a mobile game|a database engine|a neural network from scratch|a trading bot|a website for my shop}",
    "{what year|when} did {the titanic sink|the berlin wall fall|world war two end|columbus reach america|man land on the moon|the war start|the roman empire fall}", "how {tall|old|rich|heavy} is {the eiffel tower|the president|elon musk|mount fuji|tom cruise|the universe|the pyramid|an elephant|the empire state building|messi}",
    "{translate|how do you say} {good morning|i love you|this sentence|thank you|where is the station} {into|in} {chinese|russian|arabic|korean|swahili|hungarian|finnish}", "{what is|explain|describe} the {plot|ending|moral} of {hamlet|titanic|faust|the matrix|moby dick|inception|the great gatsby|romeo and juliet}",
    "{when is|what day is} {easter|christmas|ramadan|my birthday|the next holiday|thanksgiving|the next full moon|mother's day} [this year|]", "{how do i get|what's the way|show me the way} {to the airport|to the station|home|to paris|to the city centre|downtown}",
]
